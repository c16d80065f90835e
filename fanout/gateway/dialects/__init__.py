"""The dialects that clients speak: JSON in to a prompt, events out to bytes. No I/O."""
