"""The tests mirror the package file for file; tests/servers/ holds loopback servers, one a wire."""
