"""Loopback servers, one a wire: they bind to 127.0.0.1 and end with the test."""
