"""What the commands show and ask on a terminal, print into a pipe, and save of an answer."""
