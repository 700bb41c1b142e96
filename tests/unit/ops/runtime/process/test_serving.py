"""Start, port and end of a process that serves HTTP, and what it says when its server fails."""

from __future__ import annotations

import asyncio
import socket

import pytest
from structlog.testing import capture_logs

from ops.runtime.failures import Failed
from ops.runtime.process.serving import log_failure, port_to_listen_on, unless_stopped, until_stopped


@pytest.mark.asyncio
async def test_a_server_that_fails_while_it_drains_is_logged() -> None:
    """With what it raised; one that ended well, is still serving or was cancelled says nothing."""

    async def fails() -> None:
        raise OSError(24, "Too many open files")

    async def ends() -> None:
        return

    async def serves() -> None:
        await asyncio.Event().wait()

    failed, ended, serving, cancelled = (asyncio.create_task(one()) for one in (fails, ends, serves, serves))
    cancelled.cancel()
    await asyncio.wait({failed, ended, cancelled})
    with capture_logs() as lines:
        for task in (failed, ended, cancelled, serving):
            log_failure(task)
    serving.cancel()
    assert [line["event"] for line in lines] == ["http_server_failed_while_draining"]
    assert "Too many open files" in lines[0]["error"]


@pytest.mark.asyncio
async def test_a_signal_ends_a_start_that_waits() -> None:
    """For example for a broker that is not there; a start that is done first gives its result."""
    was_ended = asyncio.Event()

    async def waits() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            was_ended.set()
        return "never"

    async def opens() -> str:
        return "open"

    stop = asyncio.Event()
    assert await unless_stopped(stop, opens()) == "open"
    stop.set()
    assert await unless_stopped(stop, waits()) is None
    assert was_ended.is_set()


@pytest.mark.asyncio
async def test_a_server_that_ends_before_the_signal_is_an_error() -> None:
    """With what it raised as the cause; after the signal it is not."""

    async def fails() -> None:
        raise ValueError("no more sockets")

    stop = asyncio.Event()
    with pytest.raises(OSError, match="ended by itself") as raised:
        await until_stopped(stop, asyncio.create_task(fails()))
    assert isinstance(raised.value.__cause__, ValueError)
    serving = asyncio.create_task(asyncio.Event().wait())
    stop.set()
    await until_stopped(stop, serving)  # type: ignore[arg-type]
    assert not serving.done()
    serving.cancel()


def test_a_port_is_free_or_it_is_said() -> None:
    """By the variable to change: the server itself would share the port with its owner."""
    assert port_to_listen_on("127.0.0.1", 0, "AXONPUSH_HOST", "AXONPUSH_PORT") > 0
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = owner.getsockname()[1]
        with pytest.raises(Failed, match=f"expected port {port} to be free.*AXONPUSH_PORT"):
            port_to_listen_on("127.0.0.1", port, "AXONPUSH_HOST", "AXONPUSH_PORT")
    with pytest.raises(Failed, match="expected AXONPUSH_HOST to be an address of this machine, found '::g'"):
        port_to_listen_on("::g", 0, "AXONPUSH_HOST", "AXONPUSH_PORT")
