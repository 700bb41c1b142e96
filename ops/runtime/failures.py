"""What a command tells a person when it cannot do its work. The command line turns it into one message and exit 1."""

from __future__ import annotations


class Failed(Exception):
    """The command could not do its work; the text says what was expected, what was found and what to do."""


class Conflict(Failed):
    """Somebody else changed the same thing, or it exists already."""
