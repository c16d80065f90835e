"""The user's own directories, and files in them that only their owner can read."""
