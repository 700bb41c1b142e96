"""What a process says when its HTTP server fails."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from ops.runtime.process.serving import log_failure


def test_a_server_that_fails_while_it_drains_is_logged() -> None:
    """With what it raised; one that ended well, is still serving or was cancelled says nothing."""

    async def scene() -> None:
        async def fails() -> None:
            raise OSError(24, "Too many open files")

        async def ends() -> None:
            return

        failed, ended = asyncio.create_task(fails()), asyncio.create_task(ends())
        serving = asyncio.create_task(asyncio.Event().wait())
        cancelled = asyncio.create_task(asyncio.sleep(600))
        cancelled.cancel()
        await asyncio.wait({failed, ended, cancelled})
        for task in (failed, ended, cancelled, serving):
            log_failure(task)  # type: ignore[arg-type]
        serving.cancel()

    with capture_logs() as lines:
        asyncio.run(scene())
    assert [line["event"] for line in lines] == ["http_server_failed_while_draining"]
    assert "Too many open files" in lines[0]["error"]
