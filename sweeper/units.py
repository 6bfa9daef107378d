"""Bytes in the units that people read."""

MIB = 2**20
GIB = 2**30
