"""Tests of the providers and their readers."""
