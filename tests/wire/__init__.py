"""Tests of the framings and what they rest on."""
