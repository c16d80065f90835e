"""Runs a plan: its groups, its lanes and their clocks, and the channel on which their events come out."""
