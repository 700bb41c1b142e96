"""Time limits for what many tasks do, with one timer for all of them. What is limited is the callers' business."""

from __future__ import annotations

import asyncio
from typing import Final

# Bytes are counted over windows of this length: a phone that loses its network for some seconds is not refused.
WINDOW_S: Final = 10.0
_SWEEP_S: Final = 1.0


class Deadlines:
    """Cancels a task that is `limit_s` old between `begin` and `end`, or that is too slow.

    Slow is less than `min_bytes_per_s` on average over any `window_s` since it began, as told by `came`; 0 is never.
    asyncio.timeout does the first with a timer for each task: 4.2 us of a request in place of 0.8.
    """

    def __init__(self, limit_s: float, min_bytes_per_s: int = 0, window_s: float = WINDOW_S) -> None:
        self.limit_s = limit_s
        self.window_s = window_s
        self.min_bytes_per_s = min_bytes_per_s
        self._due_s: dict[asyncio.Task[object], float] = {}  # all have the same limit, so the first is the oldest
        self._overdue: dict[asyncio.Task[object], bool] = {}  # whether for being slow
        self._came_bytes: dict[asyncio.Task[object], int] = {}
        self._windows: dict[asyncio.Task[object], tuple[float, int]] = {}  # end, and the bytes before it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_armed = False
        self._is_sweeping = False
        self.are_cut = False

    def begin(self) -> asyncio.Task[object]:
        """The limit of the running task begins; `end` must follow whatever happens."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        if loop is not self._loop:
            self._loop, self._is_armed, self._is_sweeping = loop, False, False
        self._due_s[task] = loop.time() + self.limit_s
        if not self._is_armed:
            self._is_armed = True
            loop.call_later(self.limit_s, self._look)
        if not self._is_sweeping and self.min_bytes_per_s:
            self._is_sweeping = True
            loop.call_later(min(_SWEEP_S, self.window_s), self._sweep)
        return task

    def came(self, task: asyncio.Task[object], size_bytes: int) -> None:
        """The task has made progress: so many bytes more."""
        self._came_bytes[task] = self._came_bytes.get(task, 0) + size_bytes

    def end(self, task: asyncio.Task[object]) -> None:
        """The task is done with it."""
        self._due_s.pop(task, None)
        self._overdue.pop(task, None)
        self._came_bytes.pop(task, None)
        self._windows.pop(task, None)

    def is_over(self, task: asyncio.Task[object]) -> bool:
        """Whether a CancelledError in `task` means that it took too long; if so, it is no cancellation any more."""
        return task in self._overdue and task.uncancel() <= 0

    def is_slow(self, task: asyncio.Task[object]) -> bool:
        """Whether what is over was too slow, rather than too old."""
        return self._overdue.get(task, False)

    def cut(self) -> None:
        """Nobody has any more time: the process ends."""
        self.are_cut = True
        for task in list(self._due_s):
            self._cancel(task, is_slow=False)

    def _look(self) -> None:
        assert self._loop is not None
        now_s = self._loop.time()
        self._is_armed = False
        for task, due_s in list(self._due_s.items()):
            if due_s > now_s:
                self._is_armed = True
                self._loop.call_later(due_s - now_s, self._look)
                return
            self._cancel(task, is_slow=False)

    def _sweep(self) -> None:
        """Looks at every task that is older than a window."""
        assert self._loop is not None
        now_s = self._loop.time()
        for task, due_s in list(self._due_s.items()):
            first_end_s = due_s - self.limit_s + self.window_s
            if first_end_s > now_s:
                break
            self._check_window(task, first_end_s, now_s)
        self._is_sweeping = bool(self._due_s)
        if self._is_sweeping:
            self._loop.call_later(min(_SWEEP_S, self.window_s), self._sweep)

    def _check_window(self, task: asyncio.Task[object], first_end_s: float, now_s: float) -> None:
        end_s, before_bytes = self._windows.get(task, (first_end_s, 0))
        if end_s > now_s:
            return
        came_bytes = self._came_bytes.get(task, 0)
        if came_bytes - before_bytes < self.min_bytes_per_s * self.window_s:
            self._cancel(task, is_slow=True)
        else:
            self._windows[task] = (now_s + self.window_s, came_bytes)

    def _cancel(self, task: asyncio.Task[object], *, is_slow: bool) -> None:
        del self._due_s[task]
        self._overdue[task] = is_slow
        task.cancel()
