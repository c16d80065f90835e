"""Tests of logins: what is kept, where it comes from, and who gets it."""
