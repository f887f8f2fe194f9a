"""Deterministic helpers for tests of the protocol core: no trio, no clock, no I/O, every run named by its seed."""
