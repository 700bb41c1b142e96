"""Finds and opens the servers that a command works on: from the environment, else from the `up` of this folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from nats.errors import Error as NatsError

from ops.cli.terminal import named_folder
from ops.cli.unreachable import is_stopped, unreachable
from ops.local.clickhouse_http.access.users import OPERATOR
from ops.runtime.failures import Failed
from ops.runtime.nats_options import nats_options
from ops.runtime.secret_masking import without_secrets
from ops.runtime.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient
    from clickhouse_connect.driver.httpclient import HttpClient
    from nats.aio.client import Client as NatsClient

DEFAULT_DATA_DIR: Final = Path(".axonpush")
READY_FILE: Final = "ready.json"
# Key in ready.json: passwords of the embedded ClickHouse by user.
CLICKHOUSE_USERS: Final = "clickhouse_users"
BUDGETS_FILE: Final = "budgets.json"
# Settings with the addresses of servers, as ready.json has them.
SERVERS: Final = ("nats_url", "clickhouse_url")
_DEFAULT_PORTS: Final = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443, "http": 8123, "https": 8443}
_THIS_HOST: Final = {"localhost", "::1"}
_LOGIN: Final = ("NATS_USER", "NATS_PASSWORD", "CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD")
CONNECT_TIMEOUT_S: Final = 5.0
# Until a server has shown any sign of life; statements may take longer.
FIRST_ANSWER_S: Final = 10.0
# The default of clickhouse-connect.
QUERY_TIMEOUT_S: Final = 300


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file that `up` wrote; empty if the file is missing or holds no object."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def find_settings(data_dir: Path, clickhouse_user: str = OPERATOR, asks: Sequence[str] = SERVERS) -> Settings:
    """Settings from the environment; missing addresses come from `data_dir`/ready.json if that exists.

    `clickhouse_user` is the user for a ClickHouse server found in that file. `asks`: names of SERVERS that are asked.
    """
    return Settings(**found_servers(data_dir, clickhouse_user, asks))


def found_servers(data_dir: Path, clickhouse_user: str = OPERATOR, asks: Sequence[str] = SERVERS) -> dict[str, Any]:
    """The settings that ready.json adds to the environment.

    Raises Failed for a named folder without an `up`, and for one whose servers are not those of the environment.
    """
    ready = read_json(data_dir / READY_FILE)
    if data_dir != DEFAULT_DATA_DIR or named_folder() is not None:
        _check_named(data_dir, ready)
    elif ready:
        _tell_other_servers(data_dir, ready, asks)
    else:
        _check_not_stopped(data_dir)
    settings: dict[str, Any] = {
        name: ready[name]
        for name in SERVERS
        if not os.environ.get(f"AXONPUSH_{name.upper()}") and isinstance(ready.get(name), str)
    }
    _tell_unused(settings)
    users = ready.get(CLICKHOUSE_USERS)
    password = users.get(clickhouse_user) if isinstance(users, dict) else None
    if "clickhouse_url" in settings and isinstance(password, str) and not os.environ.get("AXONPUSH_CLICKHOUSE_USER"):
        settings |= {"clickhouse_user": clickhouse_user, "clickhouse_password": password}
    return settings


def unused_variables(ready: dict[str, Any]) -> list[str]:
    """Variables that have no effect, because address and user come from ready.json."""
    given = {name: bool(os.environ.get(f"AXONPUSH_{name}")) for name in _LOGIN}
    unused = []
    if "nats_url" in ready and given["NATS_PASSWORD"] and not given["NATS_USER"]:
        unused.append("AXONPUSH_NATS_PASSWORD")
    if "clickhouse_url" in ready and given["CLICKHOUSE_PASSWORD"] and not given["CLICKHOUSE_USER"]:
        unused.append("AXONPUSH_CLICKHOUSE_PASSWORD")
    return unused


def _tell_unused(ready: dict[str, Any]) -> None:
    for variable in unused_variables(ready):
        user = variable.replace("PASSWORD", "USER")
        print(
            f"axonpush: warning: {variable} is set and not used: address, user and password come from {READY_FILE}. "
            f"Set {user} too, or unset it",
            file=sys.stderr,
        )


def _check_named(data_dir: Path, ready: dict[str, Any]) -> None:
    """A folder that somebody has named is meant: without it, the command would work on another system."""
    if not data_dir.is_dir():
        raise Failed(
            f"--data-dir: expected the folder of an `axonpush up`, found no folder {data_dir}: correct it or leave it "
            "out"
        )
    if not ready:
        inside = data_dir / DEFAULT_DATA_DIR
        meant = f"; --data-dir {inside} is one" if (inside / READY_FILE).is_file() else ""
        raise Failed(
            f"--data-dir: expected a running `axonpush up` in {data_dir}, found no {READY_FILE} there{meant}: start "
            "it, or name another folder"
        )
    _check_one_system(data_dir, ready)


def _check_not_stopped(data_dir: Path) -> None:
    """Who calls a command in the folder of a stopped `up` means that one, not whatever has the default addresses."""
    if is_stopped(data_dir) and not any(os.environ.get(f"AXONPUSH_{name.upper()}") for name in SERVERS):
        from ops.status.local_up import running_up  # noqa: PLC0415 (it imports us)

        if up := running_up(data_dir):
            raise Failed(
                f"expected {data_dir / READY_FILE} with the addresses of the `axonpush up` that runs here (process "
                f"{up.pid}), found no such file: it is starting or stopping, or someone removed the file. Wait, or "
                "restart it. Nothing was changed."
            )
        raise Failed(
            f"expected a running `axonpush up` in {data_dir}, found it stopped: start it with `axonpush up`. For "
            "other servers, set AXONPUSH_NATS_URL and AXONPUSH_CLICKHOUSE_URL, or name the --data-dir of their "
            "`axonpush up`. Nothing was changed."
        )


def _tell_other_servers(data_dir: Path, ready: dict[str, Any], asks: Sequence[str]) -> None:
    """A variable that somebody has forgotten makes a command work on another system than the one of this folder.

    One that the command does not use must not look as if it worked there.
    """
    others = {name: own for name in SERVERS if isinstance(own := ready.get(name), str) and _names_other(name, own)}
    for name in asks:
        variable = f"AXONPUSH_{name.upper()}"
        if name in others:
            given = without_secrets(os.environ[variable])
            _warn_once(
                f"works on {given} of {variable}, not on {without_secrets(others[name])} of the `axonpush up` that "
                f"runs in {data_dir}. If that one is meant, unset {variable}"
            )
        elif isinstance(ready.get(name), str) and not os.environ.get(variable):
            for unused in others.keys() - set(asks):
                other = f"AXONPUSH_{unused.upper()}"
                _warn_once(
                    f"asks {without_secrets(ready[name])} of the `axonpush up` that runs in {data_dir}, not the system "
                    f"of {other} ({without_secrets(os.environ[other])}), which this command does not use. If that "
                    f"system is meant, set {variable}"
                )


_said: set[str] = set()


def _warn_once(text: str) -> None:
    """A command may look for its servers several times."""
    if text not in _said:
        _said.add(text)
        print(f"axonpush: warning: {text}", file=sys.stderr)


def _names_other(name: str, own: str) -> bool:
    given = os.environ.get(f"AXONPUSH_{name.upper()}", "")
    return bool(given) and not same_servers(given, own)


def _check_one_system(data_dir: Path, ready: dict[str, Any]) -> None:
    """Who names a folder means its servers, so those of variables instead would be a surprise. Raises Failed."""
    others = {}
    for name in SERVERS:
        variable, own = f"AXONPUSH_{name.upper()}", ready.get(name)
        given = os.environ.get(variable, "")
        if given and not (isinstance(own, str) and same_servers(given, own)):
            others[variable] = f"{variable} names {without_secrets(given)}, the folder {_address_text(own)}"
    if others:
        raise _two_systems(data_dir, others)


def _two_systems(data_dir: Path, others: Mapping[str, str]) -> Failed:
    return Failed(
        f"expected --data-dir {data_dir}, the folder of an `axonpush up`, or {' and '.join(others)}; found both, "
        f"and they name different servers: {'; '.join(others.values())}. Unset {' and '.join(others)}, or leave "
        "out --data-dir. Nothing was changed."
    )


def program_address(data_dir: Path, variable: str, names: Sequence[str]) -> str:
    """An address of our programs: of the variable, else the first of these names in ready.json; empty without both.

    Raises Failed if a named folder's `up` has other addresses: who names a folder does not mean another system.
    """
    given, ready = os.environ.get(variable, ""), read_json(data_dir / READY_FILE)
    own = [address for name in names if isinstance(address := ready.get(name), str) and address]
    is_named = data_dir != DEFAULT_DATA_DIR or named_folder() is not None
    if given and own and is_named and not any(same_servers(given, address) for address in own):
        where = f"{variable} names {without_secrets(given)}, the folder {' and '.join(map(without_secrets, own))}"
        raise _two_systems(data_dir, {variable: where})
    return given or next(iter(own), "")


def _address_text(url: object) -> str:
    return without_secrets(url) if isinstance(url, str) else "none"


def same_servers(addresses: str, others: str) -> bool:
    """Whether two addresses, or lists of them, have a server in common; users and passwords do not count."""
    return bool(_places(addresses) & _places(others))


def _places(url: str) -> set[tuple[str, int]]:
    places = set()
    for address in filter(None, (part.strip() for part in url.split(","))):
        parts = urlsplit(address if "://" in address else f"nats://{address}")
        host = (parts.hostname or "").lower()
        try:
            port = parts.port
        except ValueError:  # no number; the connection will say so
            port = None
        places.add(("127.0.0.1" if host in _THIS_HOST else host, port or _DEFAULT_PORTS.get(parts.scheme, 0)))
    return places


def stored_budgets(data_dir: Path) -> dict[str, Any]:
    """The stream limits that `up` chose for this folder, by setting name, without those that the environment sets."""
    return {
        name: value
        for name, value in read_json(data_dir / BUDGETS_FILE).items()
        if isinstance(value, int) and not os.environ.get(f"AXONPUSH_{name.upper()}")
    }


@contextlib.asynccontextmanager
async def open_nats(settings: Settings, name: str) -> AsyncIterator[NatsClient]:
    """A connection for one command, which does not wait for a missing server. Raises Failed."""
    import nats  # noqa: PLC0415 (0.2 s which only commands that talk to a broker should pay)

    async def quiet(_error: Exception) -> None:
        """Does nothing: the exception reaches us anyway."""

    options = nats_options(settings, name) | {"allow_reconnect": False, "max_reconnect_attempts": 1}
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            client = await nats.connect(settings.nats_servers(), error_cb=quiet, **options)
    except (OSError, TimeoutError, NatsError) as error:
        raise Failed(unreachable("NATS", settings.nats_url, "AXONPUSH_NATS_URL", error)) from error
    try:
        yield client
    finally:
        await client.close()


def open_clickhouse(settings: Settings, timeout_s: float | None = None) -> ClickHouseClient:
    """A synchronous client without a database, because ours may not exist yet. Raises Failed.

    `timeout_s` is the longest wait for any answer; without it, a query may take minutes, but the server must answer
    a first small one within FIRST_ANSWER_S.
    """
    import clickhouse_connect  # noqa: PLC0415 (0.2 s which only commands that query should pay)
    from clickhouse_connect.driver.exceptions import Error as ClickHouseError  # noqa: PLC0415
    from urllib3 import Timeout  # noqa: PLC0415

    quiet_libraries()
    connect_s = math.ceil(min(CONNECT_TIMEOUT_S, timeout_s or CONNECT_TIMEOUT_S))
    try:  # it asks for the version at once, which is the first small query
        client = clickhouse_connect.get_client(
            dsn=settings.clickhouse_url,
            # Without it the library asks https://host:9440 in clear text, with the password.
            interface=settings.clickhouse_interface(),
            username=settings.clickhouse_user,
            password=settings.clickhouse_password.get_secret_value(),
            autogenerate_session_id=False,
            connect_timeout=connect_s,
            send_receive_timeout=math.ceil(min(FIRST_ANSWER_S, timeout_s or FIRST_ANSWER_S)),
            query_retries=0,
        )
    except (OSError, ClickHouseError) as error:
        raise Failed(unreachable("ClickHouse", settings.clickhouse_url, "AXONPUSH_CLICKHOUSE_URL", error)) from error
    cast("HttpClient", client).timeout = Timeout(connect=connect_s, read=math.ceil(timeout_s or QUERY_TIMEOUT_S))
    return client


def quiet_libraries() -> None:
    """Commands say what failed; libraries would print their own lines before it."""
    for name in ("clickhouse_connect", "urllib3"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def insert_rows(client: ClickHouseClient, table: str, rows: Sequence[Sequence[object]], columns: Sequence[str]) -> None:
    """Inserts rows; raises Failed unless the server confirms that all were written. Repeating it is harmless.

    Status 200 is no confirmation: with progress headers the server sends it before the insert has ended.
    """
    summary = client.insert(table, rows, column_names=columns, settings={"send_progress_in_http_headers": 0})
    if (written := summary.written_rows) < len(rows):
        raise Failed(f"expected {len(rows)} rows written into {table}, found {written}: run the command again")
