"""Measuring lanes: sending the requests, what they come to, what may be said of it, and the report.

What is computed from records is pure: record, metrics, order, statistics, figures, lane, verdict, doubts, whatif and
summary have no I/O, no clock and no event loop. docs/metrics.md defines every figure.
"""
