"""A record on the disk of things that go on and end: a SQLite database, locks of what is under way, and a writer."""
