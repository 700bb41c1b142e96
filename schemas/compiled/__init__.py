"""Readers in C, how they are built, and the switch to what is written in Python."""
