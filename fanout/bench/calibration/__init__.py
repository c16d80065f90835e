"""The benchmark measured against a service that knows what it sent, and when."""
