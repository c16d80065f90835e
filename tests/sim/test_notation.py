"""Plans as a command line writes them."""

import pytest

from fanout.errors import UsageError
from fanout.sim.notation import Shape, parse_shape


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("race", Shape("race")),
        ("hedge:0.3s", Shape("hedge", "0.3s")),
        ("quorum:2( a ,b, c)", Shape("quorum", "2", ("a", "b", "c"))),
        ("race(a, fallback(b, c#2))", Shape("race", "", ("a", Shape("fallback", "", ("b", "c#2"))))),
    ],
)
def test_a_plan_is_read_and_written(text: str, shape: Shape) -> None:
    assert parse_shape(text) == shape
    assert parse_shape(str(shape)) == shape


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing"),
        ("rase(a)", "did you mean race"),
        ("gpt", "there is no policy 'gpt'"),
        ("race(a", "a \\) is missing"),
        ("race(a,)", "missing"),
        ("race(a) b", "nothing can follow"),
        ("race(a; b)", "without ';'"),
    ],
)
def test_a_mistake_is_named(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_shape(text)


def test_an_argument_says_seconds_a_quantile_or_a_number() -> None:
    assert parse_shape("hedge:300ms").given(2) == {"after": 0.3}
    assert parse_shape("hedge:p95").quantile == 0.95
    assert parse_shape("quorum").given(3) == {"k": 2}
    for text in ("hedge:soon", "quorum:4", "quorum:x"):
        with pytest.raises(UsageError, match=text.split(":")[0]):
            parse_shape(text).given(3)
