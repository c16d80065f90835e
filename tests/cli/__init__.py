"""The command line, called as its users do."""
