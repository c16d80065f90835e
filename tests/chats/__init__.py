"""Tests of the web chats."""
