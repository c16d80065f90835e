"""Everybody may read what a run tells of itself."""

import pytest

from fanout.bench.load.about import HIDDEN, describe_run, hide_secret_option, hide_secrets
from fanout.bench.load.planning import plan_run
from fanout.bench.load.wish import RunWish


@pytest.mark.parametrize(
    ("address", "rest"),
    [
        ("https://h/v1", "https://h/v1"),
        ("https://u:p@h:8/v1/", "https://…@h:8/v1/"),
        ("https://h/v1?key=abc", "https://h/v1?…"),
        ("https://h/v1#abc", "https://h/v1"),
        ("https://[h", "…"),
        ("nonsense", "nonsense"),
    ],
)
def test_of_an_address_everybody_may_see_the_host_and_the_path(address: str, rest: str) -> None:
    assert hide_secrets(address) == rest


@pytest.mark.parametrize(
    ("key", "value", "rest"),
    [
        ("temperature", "0", "0"),
        ("body.metadata", "s3cret", HIDDEN),
        ("base_url", "https://u:s3cret@h/v1", "https://…@h/v1"),
        ("proxy", "http://u:s3cret@h:1", "http://…@h:1"),
        ("stop", "//", "//"),
    ],
)
def test_of_an_option_everybody_may_see_what_is_no_secret(key: str, value: str, rest: str) -> None:
    assert hide_secret_option(key, value) == rest


def test_a_run_tells_how_it_was_asked_for_and_nothing_secret() -> None:
    lane = "a=openai/x?base_url=http://127.0.0.1:1/v1?key=s3cret&key_env="
    wish = RunWish(lanes=[lane], system="s3cret", rate=[2.0], seed=5)
    planned = plan_run(wish, "fanout bench")
    assert planned.about == {
        **describe_run(wish, planned.setup, planned.schedules, "fanout bench"),
        **{name: planned.about[name] for name in ("start",)},
    }
    assert planned.about["lanes"] == [
        {"name": "a", "provider": "openai", "model": "x", "base_url": "http://127.0.0.1:1/v1?…"}
    ]
    assert (planned.about["load"], planned.about["arrival"], planned.about["seed"]) == (["2/s"], "poisson", 5)
    assert {"versions", "machine", "clock"} <= set(planned.about)
    assert "s3cret" not in repr(planned.about)
