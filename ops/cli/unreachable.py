"""Says in words why a server cannot be asked. Texts of libraries name their own classes, not the cause."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.cli.terminal import DEFAULT_DATA_DIR, named_folder
from ops.runtime.secret_masking import without_secrets

if TYPE_CHECKING:
    from ops.status.local_up import LocalUp

# How nats-server and ClickHouse say that user or password is wrong, and that TLS failed.
_REFUSED_WORDS: Final = (
    "authorization violation",
    "authentication",
    "user authentication",
    "required_password",
    "code: 516",
)
_TLS_WORDS: Final = ("ssl", "tls", "certificate")
REFUSED_USER: Final = "to accept user and password, found them refused"
START_UP: Final = " Start `axonpush up` in this folder"
# Before what is said of an `up` that runs although its server does not answer.
RUNS: Final = " It restarts its servers: "
# Before what is said of its process that lives and does not answer.
HANGS: Final = " Its process: "
_KINDS: Final = {"NATS": "nats", "ClickHouse": "clickhouse"}
_LOGIN_VARIABLES: Final = {"AXONPUSH_NATS_URL": ("NATS_USER", "NATS_PASSWORD", "NATS_TOKEN"),
                           "AXONPUSH_CLICKHOUSE_URL": ("CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD")}  # fmt: skip
# An address without a process, as of a server that ended.
_MAY_BE_DOWN: Final = {"connection refused", "connection closed", "nats: no servers available for connection"}
NO_ANSWER: Final = "no answer in time"
UNKNOWN_TABLE: Final = "Unknown table"
NOT_CLICKHOUSE: Final = "an answer that is not ClickHouse's"
NO_DATABASE: Final = "ClickHouse has no database"
_UNKNOWN_DATABASE: Final = re.compile(r"Database `?([^\s`'\"]+)`? (?:does not exist|doesn't exist)")
# What answers like this is no ClickHouse: that names its own code.
_OTHER_SERVER: Final = re.compile(rf"HTTP status \d+(?!.*\bCode: \d)|{NOT_CLICKHOUSE}")
_UNEXPECTED: Final = "Unexpected response to server version"
# A server's text may be a whole page.
MAX_REASON: Final = 200
_UNKNOWN_TABLE: Final = re.compile(
    r"Unknown table expression identifier '([^']+)'|Table ([\w.`]+) (?:does not exist|doesn't exist)"
)
_MEANT: Final = re.compile(r"[Mm]aybe you meant:? '?([\w.`]+)")
# Classes of urllib3, which is imported only where a command queries.
_SILENT: Final = {"ReadTimeoutError", "ConnectTimeoutError"}
_UNKNOWN_HOST: Final = {"NameResolutionError"}
_CLOSED: Final = {"ProtocolError", "RemoteDisconnected", "IncompleteRead"}
# Texts that say nothing to a user.
_LIBRARY_WORDS: Final = ("ConnectionPool(", "Http Driver Exception")


def unreachable(server: str, url: str, variable: str, error: BaseException) -> str:
    """What was expected at `url`, what was found, and what to do."""
    reason, text = reason_of(error), " ".join(map(str, _causes(error))).lower()
    where = without_secrets(url)
    if says_refused_user(text):
        return f"expected {server} at {where} {REFUSED_USER} ({reason}). {_remedy_of_login(variable)}"
    if any(word in text for word in _TLS_WORDS):
        tls = "AXONPUSH_NATS_TLS_CA and the tls:// address" if server == "NATS" else f"{variable} (https:// or http://)"
        return f"expected TLS that both sides agree on at {where}, found an error of TLS ({reason}). Check {tls}"
    if other := _OTHER_SERVER.search(reason):
        return f"expected {server} at {where}, found another server ({other[0]}): correct {variable}"
    up = _up_of(server, url, variable)
    if reason == NO_ANSWER:
        silent = f"expected an answer of {server} at {where}, found {reason}: it is stopped, overloaded or cut off."
        if hint := up.cause(_KINDS[server]) if up else "":
            return f"{silent}{HANGS}{hint}"
        return f"{silent} Look at its process and its log, or correct {variable}"
    if up and (cause := up.cause(_KINDS[server])):
        return f"expected {server} at {where}, could not connect ({reason}).{HANGS}{cause}"
    if up:
        return f"expected {server} at {where}, could not connect ({reason}).{RUNS}{up.text}"
    if os.environ.get(variable):
        runs = "Start it if it does not run; else correct" if reason in _MAY_BE_DOWN else "Correct"
        return f"expected {server} at {where}, could not connect ({reason}). {runs} {variable}, or {_name_folder()}"
    folder = named_folder() or DEFAULT_DATA_DIR
    start = _start_of(folder)
    if is_stopped(folder):
        return (
            f"expected {server}, found the `axonpush up` of {folder} stopped; nothing answers at the default address "
            f"{where} either ({reason}).{start}, {_name_folder()}, or set {variable}"
        )
    return f"expected {server} at {where}, could not connect ({reason}).{start}, {_name_folder()}, or set {variable}"


def _remedy_of_login(variable: str) -> str:
    """A user that somebody left in the shell wins over the one of a folder, so it is the first suspect."""
    names = [f"AXONPUSH_{name}" for name in _LOGIN_VARIABLES[variable]]
    user, password = names[:2]
    if bool(os.environ.get(user)) != bool(os.environ.get(password)) and not any(map(os.environ.get, names[2:])):
        is_set, is_not = (user, password) if os.environ.get(user) else (password, user)
        return f"{is_set} of this shell is used, and {is_not} is not set: set both or none"
    if given := [name for name in names if os.environ.get(name)]:
        them = "it" if len(given) == 1 else "them"
        return f"{' and '.join(given)} of this shell {'is' if len(given) == 1 else 'are'} used: correct or unset {them}"
    return f"Set {names[0]} and {names[1]}, or {_name_folder()}"


def _up_of(server: str, url: str, variable: str) -> LocalUp | None:
    """The running `up` of this folder, if the address is its own: it is where no variable names one."""
    from ops.status.local_up import running_up, up_of  # noqa: PLC0415 (it imports us)

    folder = named_folder() or DEFAULT_DATA_DIR
    if not os.environ.get(variable):
        return running_up(folder) if (folder / "ready.json").exists() else None
    return up_of(folder, f"{_KINDS[server]}_url", url)


def is_stopped(data_dir: Path) -> bool:
    """Whether an `up` has once run in this folder, and none runs now: it removes ready.json at its end."""
    return data_dir.is_dir() and not (data_dir / "ready.json").exists()


def _start_of(folder: Path) -> str:
    named = named_folder()
    return START_UP if named is None else f" Start `axonpush up --data-dir {folder}`"


def _name_folder() -> str:
    """A --data-dir is refused beside variables that name other servers, so they go first."""
    variables = [name for name in ("AXONPUSH_NATS_URL", "AXONPUSH_CLICKHOUSE_URL") if os.environ.get(name)]
    unset = f"unset {' and '.join(variables)} and " if variables else ""
    return f"{unset}name the --data-dir of an `axonpush up`"


def says_refused_user(text: str) -> bool:
    """Whether a server's words say that user or password is wrong."""
    return any(word in text.lower() for word in _REFUSED_WORDS)


def reason_of(error: BaseException) -> str:
    """The cause in a few words: `connection refused`, or the first line of what the server said."""
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    if any(isinstance(cause, TimeoutError) for cause in causes) or names & _SILENT:
        return NO_ANSWER
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "connection refused"
    if any(isinstance(cause, socket.gaierror) for cause in causes) or names & _UNKNOWN_HOST:
        return "unknown host"
    if any(isinstance(cause, ConnectionError) for cause in causes) or names & _CLOSED:
        return "connection closed"
    lines = [line for cause in causes for line in str(cause).strip().splitlines()[:1]]
    own_lines = [line for line in lines if not any(word in line for word in _LIBRARY_WORDS)]
    text = own_lines[0] if own_lines else type(causes[-1]).__name__
    if database := _UNKNOWN_DATABASE.search(text):
        return f"{NO_DATABASE} {database[1]}: correct AXONPUSH_CLICKHOUSE_DATABASE, or run `axonpush migrate`"
    if _UNEXPECTED in text:
        return NOT_CLICKHOUSE
    text = unknown_table(text).rstrip(".")
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…"


def unknown_table(text: str) -> str:
    """ClickHouse's error about a table that does not exist, without the query, which may fill pages; other errors
    stay as they are."""
    if match := _UNKNOWN_TABLE.search(text):
        name = _plain_name(match[1] or match[2])
        meant = f"did you mean {_plain_name(guess[1])}? If" if (guess := _MEANT.search(text)) else "if"
        advice = f"{meant} it is one of ours, `axonpush migrate` makes it again"
        return f"{UNKNOWN_TABLE} {name} (ClickHouse's code 60): {advice}"
    return text


def _plain_name(name: str) -> str:
    """Of a table, without its database."""
    return name.replace("`", "").rpartition(".")[2]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, the nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
