"""The command `fanout`: one verb a file."""
