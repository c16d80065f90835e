"""The policies, one a file: they say who starts and who has lost, without I/O."""
