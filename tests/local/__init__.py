"""Tests of the embedded model; those with the real one are skipped where it is not installed, but fail under CI."""
