"""Runs files of conformance cases: `python -m tests.conformance FILE…`."""
