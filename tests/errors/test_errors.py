import inspect
import re

import pytest

from fanout import errors
from fanout.errors import AllLanesFailed, FanoutError, ProviderError, RateLimited, ServerError, TimedOut


def test_the_hierarchy_is_the_one_drawn() -> None:
    assert errors.__doc__
    drawn = {}
    above: list[str] = []
    for line in errors.__doc__.splitlines()[1:]:
        if found := re.match(r"( *)([A-Z]\w+)", line):
            depth = len(found[1]) // 2
            above = [*above[:depth], found[2]]
            drawn[found[2]] = above[-2] if depth else None
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    defined = {name: cls for name, cls in classes.items() if cls.__module__ == errors.__name__}
    assert set(drawn) == set(defined)
    for name, parent in drawn.items():
        if parent:
            assert defined[parent] in defined[name].__bases__, name


def test_every_kind_has_one_name() -> None:
    kinds = [cls.kind for cls in ProviderError.__subclasses__()]
    assert len(kinds) == len(set(kinds))


def test_an_error_says_who_what_and_why() -> None:
    error = RateLimited("slow down", status=429, retry_after=7)
    assert str(error) == "rate_limit (429): slow down"
    error.lane = "fast"
    assert str(error) == "fast: rate_limit (429): slow down"
    assert (error.retry_after, error.retryable, error.retry_safe) == (7, True, True)


def test_what_the_service_says_about_repeating_overrides_the_kind() -> None:
    assert ServerError("x").retryable
    assert not ServerError("x", retryable=False).retryable


def test_a_clock_names_itself() -> None:
    error = TimedOut("late", clock="idle", seconds=2, retry_safe=True)
    assert (error.clock, error.seconds, error.retry_safe) == ("idle", 2, True)


def test_all_lanes_failed_keeps_its_class_when_it_is_split() -> None:
    group = AllLanesFailed("no", [RateLimited("a"), ServerError("b")])
    match, rest = group.split(RateLimited)
    assert isinstance(match, AllLanesFailed)
    assert isinstance(rest, AllLanesFailed)
    assert [type(error) for error in rest.exceptions] == [ServerError]


def test_everything_but_the_group_is_a_fanout_error() -> None:
    assert issubclass(ProviderError, FanoutError)
    with pytest.raises(FanoutError):
        raise errors.UsageError("x")
