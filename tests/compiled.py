"""The C compiler that tests of the measurements need."""

import os

import pytest

from benchmarks import load
from benchmarks.load import CannotMeasure


@pytest.fixture(scope="session")
def compiler() -> None:
    """The programs are compiled when first used: those who cannot are spared their tests, but not CI."""
    try:
        load.compiler()
    except CannotMeasure as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
