"""Tests of `fanout auth`."""
