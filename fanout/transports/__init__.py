"""The only network I/O of a lane: one HTTP client a file."""
