"""Fixtures that the tests of the benchmark share with those of the transports."""

from tests.transports.conftest import certificate

__all__ = ["certificate"]
