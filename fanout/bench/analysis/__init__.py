"""The figures of records, and what may be said of them: pure, without I/O, a clock or an event loop."""
