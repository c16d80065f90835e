"""Bytes to frames, without I/O: one framing a file."""
