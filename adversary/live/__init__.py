"""Attacks on real processes: real sockets, real disks, real time."""
