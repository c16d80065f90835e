"""Fixtures of the tests of the embedded model."""

import importlib.util
import os
from pathlib import Path

import pytest

from fanout.local import weights


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real weights; whoever has not installed them skips the test."""
    monkeypatch.delenv("FANOUT_MODEL", raising=False)
    path = weights.find() if importlib.util.find_spec("xllamacpp") else None
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("the embedded model is not installed")
        pytest.skip("the embedded model is not installed")
    return path
