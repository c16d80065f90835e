"""One finished request as it is kept: in memory, in files, in the database of runs."""
