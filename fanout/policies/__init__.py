"""Who starts and who has lost, without I/O: one policy a file."""
