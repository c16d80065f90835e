"""Tests of HuggingChat."""
