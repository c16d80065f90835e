"""Credentials that people get by logging in: kept, imported, or obtained in a browser."""
