"""Output of the commands: shown and asked on a terminal, printed into a pipe, saved as files."""
