"""The formats, fed by hand: no event loop, no terminal."""
