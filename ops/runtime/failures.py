"""Errors that a command reports to its user. The command line prints the message and exits with 1."""

from __future__ import annotations


class Failed(Exception):
    """The command failed. The text says what was expected, what was found, and what to do."""


class WrongSetting(Failed):
    """A setting has the right form, but the server refuses it. The programs that run for ever exit with 2."""


class Conflict(Failed):
    """Another command changed the same entry, or the entry exists already."""


def broker_failure(error: BaseException) -> str:
    """Why a request to the broker failed, in words: the library says only `nats: timeout`, or nothing at all."""
    if isinstance(error, TimeoutError):
        return "the broker did not answer in time: the stream has no leader now, or the broker is busy or away"
    if type(error).__name__ in {"NoRespondersError", "ServiceUnavailableError", "NoServersError"}:
        return "JetStream does not answer: no leader is elected at the moment, or a majority of the brokers is away"
    return str(error) or type(error).__name__


def not_completed(error: BaseException) -> Failed:
    """The failure of a command whose request the broker did not answer or refused."""
    return Failed(f"the broker did not complete the request: {broker_failure(error)}. Run the command again.")
