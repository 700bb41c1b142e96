"""The child process for a worker's largest messages. It may be busy or killed without delaying other messages.

It reads jobs from standard input and writes answers to standard output, one after another, until the input ends. Both
are marshalled, after four bytes with their length. Rows are sent in pieces, so that the worker's event loop can run
between them. The process has no secrets, no connections, limited memory, and a low priority.
"""

from __future__ import annotations

import contextlib
import marshal
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from ops.runtime.process.child_limits import limit_this_process, resident_bytes
from schemas.blocks.rows import MixedRows, RowBlock, Rows
from schemas.compiled import readers as compiled
from schemas.headers import Origin
from workers import memory
from workers.consume.message import Message, Receipt
from workers.normalise.registry import LAYOUTS, Normaliser, normalisers
from workers.normalise.verdict import Invalid, Rejection, Verdict
from workers.unpack.pieces import split_body
from workers.unpack.readers import READERS

MODULE: Final = "workers.consume.work_process"
LENGTH: Final = struct.Struct(">I")
# Rows of one piece. Reading a piece is one call into C, of two milliseconds.
PIECE_ROWS: Final = 1_000
MEMORY_BYTES: Final = 2 * 1024 * 1024 * 1024
# Python may keep memory that it no longer uses. Above this the process ends, and the next job starts another.
KEPT_BYTES: Final = 512 * 1024 * 1024
NICENESS: Final = 5
NORMALISE: Final = "normalise"
UNPACK: Final = "unpack"
DONE, INVALID, FAILED, TOO_LARGE = "done", "invalid", "failed", "too_large"


class WorkSettings(NamedTuple):
    """Settings that the process gets on its command line."""

    retention_days: int
    max_body_bytes: int
    has_compiled_readers: bool

    def arguments(self) -> list[str]:
        return [str(int(value)) for value in self]

    @classmethod
    def of(cls, arguments: Sequence[str]) -> WorkSettings:
        """The reverse of `arguments`."""
        retention_days, max_body_bytes, has_compiled_readers = map(int, arguments)
        return cls(retention_days, max_body_bytes, bool(has_compiled_readers))


class WorkJob(NamedTuple):
    """One message to work on, as plain values; `name` is the worker, or the route of a body to unpack."""

    kind: str
    name: str
    origin: tuple[Any, ...]
    message: tuple[Any, ...]

    @classmethod
    def of(cls, kind: str, name: str, origin: Origin, message: Message) -> WorkJob:
        """The message without its receipt, which needs the connection, and with only one form of its body."""
        body = b"" if message.inflated is not None else message.body
        plain = (
            *(message.subject, dict(message.headers), body, message.stream, message.seq),
            *(message.deliveries, message.stored_at_ns),
        )
        return cls(kind, name, astuple(origin), (*plain, message.inflated))


class NoReceipt:
    """A receipt for the child process, which has no connection to the broker."""

    async def ack(self) -> None:
        """Nothing."""

    async def nak(self, delay: float | None = None) -> None:
        """Nothing."""

    async def in_progress(self) -> None:
        """Nothing."""


_NO_RECEIPT: Final[Receipt] = NoReceipt()


def main() -> None:
    """Answers jobs until the worker closes the input."""
    settings = WorkSettings.of(sys.argv[1:])
    if not settings.has_compiled_readers:
        compiled.leave_out()
    limit_this_process(MEMORY_BYTES, NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # without free memory, the kernel ends this process first
    known = normalisers(settings.retention_days, settings.max_body_bytes)
    memory.collect_seldom()
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    _write(answers, (DONE,))  # started: from now on the time of jobs counts
    while (job := _read_job(jobs)) is not None:
        for piece in answer_to(job, known, settings.max_body_bytes):
            _write(answers, piece)
        keeps_much_memory = resident_bytes() > KEPT_BYTES
        _write(answers, keeps_much_memory)
        if keeps_much_memory:
            return


def answer_to(job: WorkJob, known: dict[str, Normaliser], max_body_bytes: int) -> Iterator[tuple[Any, ...]]:
    """The result with the number of pieces that follow, then the pieces."""
    origin = Origin(*job.origin)
    *plain, inflated = job.message
    message = Message(*(*plain, _NO_RECEIPT, 0.0, inflated))
    try:
        if job.kind == UNPACK:
            yield (DONE, 0, split_body(READERS[job.name], message, origin, max_body_bytes).plain())
            return
        verdict = known[job.name].normalise(origin, message)
        rows, verdict.rows = verdict.rows, []
        pieces = plain_pieces(rows)
        yield (DONE, len(pieces), plain_verdict(verdict))
        yield from pieces
    except Invalid as error:
        yield (INVALID, str(error))
    except MemoryError:
        yield (TOO_LARGE, f"more than {MEMORY_BYTES} bytes of memory")
    except Exception as error:
        yield (FAILED, f"{type(error).__name__}: {error}")


def plain_verdict(verdict: Verdict) -> tuple[Any, ...]:
    """Everything except its rows."""
    rejections = [astuple(rejection) for rejection in verdict.rejections]
    return verdict.accepted, rejections, verdict.warning, dict(verdict.more)


def plain_pieces(rows: Rows) -> list[tuple[Any, ...]]:
    """Rows as plain values: so many rows, or one block, which begins with a name."""
    plain: list[tuple[Any, ...]] = []
    for piece in rows.pieces if isinstance(rows, MixedRows) else [rows]:
        if isinstance(piece, RowBlock):
            plain.append(piece.plain())
        else:
            plain += [tuple(piece[start : start + PIECE_ROWS]) for start in range(0, len(piece), PIECE_ROWS)]
    return plain


def rows_of(pieces: Sequence[tuple[Any, ...]]) -> Rows:
    """The reverse of `plain_pieces`."""
    rows: Rows = []
    for piece in pieces:
        if not isinstance(piece[0], str):
            rows.extend(piece)
            continue
        if not isinstance(rows, MixedRows):
            rows = MixedRows([rows] if rows else [])
        rows.add_block(RowBlock.of(LAYOUTS[piece[0]], piece))
    return rows


def verdict_of(plain: tuple[Any, ...], pieces: Sequence[tuple[Any, ...]]) -> Verdict:
    """The reverse of `plain_verdict`, with the rows of all pieces in order."""
    accepted, rejections, warning, more = plain
    rows = rows_of(pieces)
    return Verdict(rows, accepted, [Rejection(*rejection) for rejection in rejections], warning, Counter(more))


def _write(answers: BinaryIO, value: tuple[Any, ...] | bool) -> None:
    encoded = encoded_value(value)
    answers.write(LENGTH.pack(len(encoded)) + encoded)
    answers.flush()


def encoded_value(value: tuple[Any, ...] | bool) -> bytes:
    """Marshalled: that is fast, and reading it back can only make plain values."""
    try:
        return marshal.dumps(value)
    except ValueError:  # a number that keeps its text, or a named tuple
        return marshal.dumps(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, tuple | list):
        return (tuple if isinstance(value, tuple) else list)(map(_plain, value))
    return float(value) if isinstance(value, float) else value


def _read_job(jobs: BinaryIO) -> WorkJob | None:
    length = jobs.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    return WorkJob(*marshal.loads(jobs.read(LENGTH.unpack(length)[0])))


if __name__ == "__main__":
    main()
