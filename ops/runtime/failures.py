"""Errors that a command reports to its user. The command line prints the message and exits with 1."""

from __future__ import annotations


class Failed(Exception):
    """The command failed. The text says what was expected, what was found, and what to do."""


class Conflict(Failed):
    """Another command changed the same entry, or the entry exists already."""
