from inspect import getmembers

import pytest

from fanout.transports.curl import numbers
from tests.transports.curl.constants import load_constants

TABLE = load_constants()
CLASSES = ("CurlOpt", "CurlMOpt", "CurlInfo", "CurlHttpVersion")


@pytest.mark.parametrize("name", CLASSES)
def test_every_number_is_curl_cffis(name: str) -> None:
    ours = {member: value for member, value in getmembers(getattr(numbers, name)) if member.isupper()}
    assert ours
    assert ours == {member: int(getattr(getattr(TABLE, name), member)) for member in ours}


def test_every_class_is_compared() -> None:
    assert {name for name, _ in getmembers(numbers, lambda value: isinstance(value, type))} == set(CLASSES)


def test_the_newest_browsers_are_curl_cffis() -> None:
    from curl_cffi.requests.impersonate import REAL_TARGET_MAP  # noqa: PLC0415  # only here: it attaches callbacks

    assert numbers.NEWEST == REAL_TARGET_MAP
