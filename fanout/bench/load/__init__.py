"""The requests of a load: planned, sent through the engine, and recorded."""
