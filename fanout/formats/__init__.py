"""Events to output, without I/O: one output a file."""
