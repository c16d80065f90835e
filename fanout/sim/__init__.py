"""Simulates whole fan-outs: the real engine in virtual time, on worlds drawn from a seed, under laws."""
