"""Measuring lanes: what requests come to, what may be said of it, and what another policy would have done.

Everything here is a function of records: no I/O, no clock, no event loop. docs/metrics.md defines every figure.
"""
