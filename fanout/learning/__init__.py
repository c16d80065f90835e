"""The memory of services: how fast they have been, whether they answer, what hedging them has cost; no I/O."""
