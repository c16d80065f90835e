"""Prompts to requests and frames to events, without I/O: one wire language a file."""
