"""The C compiler, and the front with TLS, that tests of the measurements need."""

import os
from collections.abc import Callable

import pytest

from benchmarks import front, load
from benchmarks.load import CannotMeasure


@pytest.fixture(scope="session")
def compiler() -> None:
    """The programs are compiled when first used: those who cannot are spared their tests, but not CI."""
    _need(load.compiler)


@pytest.fixture(scope="session")
def secure(compiler: None) -> None:
    """The load server behind a front; those who have no nginx are spared its tests, but not CI."""
    _need(front.find_programs)


def _need(find: Callable[[], object]) -> None:
    try:
        find()
    except CannotMeasure as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
