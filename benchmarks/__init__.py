"""Measurements, each a script to be run from the repository root; `results/` keeps what they gave."""
