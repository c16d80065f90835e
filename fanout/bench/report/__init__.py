"""A run's summary for people: lines of text, a table of changes, a page for a browser. Nothing here reads a clock."""
