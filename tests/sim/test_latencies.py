"""Lanes of a file: their quantiles are those of what is drawn, and mistakes are named with their place."""

from pathlib import Path
from random import Random

import pytest

from fanout.errors import UsageError
from fanout.sim.latencies import Spread, quantile_of, read_lanes


def write(folder: Path, text: str) -> Path:
    file = folder / "lanes.toml"
    file.write_text(text)
    return file


def test_what_is_drawn_has_the_quantiles_that_were_given() -> None:
    spread = Spread.of({"p50": "400ms", "p95": 1.2, "p99": "5s"})
    random = Random(1)
    drawn = sorted(spread.at(random.random()) for _ in range(40_000))
    for share, seconds in ((0.5, 0.4), (0.95, 1.2), (0.99, 5.0)):
        assert spread.at(share) == pytest.approx(seconds)
        assert quantile_of(drawn, share) == pytest.approx(seconds, rel=0.12)
    assert drawn[0] >= 0.2
    assert spread.at(0.999) > 5


def test_a_single_time_is_always_the_same() -> None:
    assert {Spread.of("0.7s").at(share) for share in (0.0, 0.5, 0.99)} == {0.7}


def test_a_file_has_lanes_in_their_order(tmp_path: Path) -> None:
    lanes = read_lanes(write(tmp_path, '[lanes.b]\nfirst = 1\n[lanes.a]\nfirst = "2s"\nfails = 1\npieces = 3\n'))
    assert list(lanes) == ["b", "a"]
    assert lanes["a"].reply(Random(1)).status == 503
    answer = lanes["b"].reply(Random(1))
    assert (answer.status, len(answer.reads), answer.reads[0].wait) == (200, 21, 1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there are no lanes"),
        ("[lanes", "no TOML"),
        ("lanes = 3", "there are no lanes"),
        ("[lanes]\na = 1", "lanes.a: must be a table"),
        ("[lanes.a]", "first is missing"),
        ("[lanes.a]\nfrist = 1", "did you mean first"),
        ('[lanes.a]\nfirst = "soon"', "lanes.a: 'soon' is not a time"),
        ("[lanes.a]\nfirst = -1", "not a time"),
        ("[lanes.a]\nfirst = { p95 = 1, p50 = 2 }", "no shorter"),
        ("[lanes.a]\nfirst = { p100 = 1, mean = 2 }", "no quantile"),
        ("[lanes.a]\nfirst = 1\npieces = 0", "pieces is"),
        ("[lanes.a]\nfirst = 1\nfails = 2", "fails is"),
    ],
)
def test_a_mistake_in_a_file_is_named(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        read_lanes(write(tmp_path, text))


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_lanes(tmp_path / "none.toml")
