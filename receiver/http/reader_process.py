"""The process that reads large bodies for a receiver: a hostile one holds it up, and nobody else.

Reads jobs from its standard input and answers on its standard output, one after another, until the input ends. A job is
four bytes of length, JSON of that length that says how many bytes of a body follow, and these. An answer is four bytes
of length, one that says whether the process ends after it, and JSON. Has no secrets, no connections, a bound on its
memory, and a low priority.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from receiver.http import body_facts
from receiver.http.body_facts import Unreadable

LENGTH: Final = struct.Struct(">I")
HEAD: Final = struct.Struct(">I?")
MEMORY_BYTES: Final = 1024 * 1024 * 1024
# Python may keep what it once had: above this the process ends, and the next job starts another one.
KEPT_BYTES: Final = 128 * 1024 * 1024
NICE: Final = 5


def main() -> None:
    """Answers jobs until the receiver closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the receiver, which then closes our input
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os.nice(NICE)
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(HEAD.pack(0, False))  # started: from now on the time of jobs counts
    answers.flush()
    while (job := _read_job(jobs)) is not None:
        encoded = answer_to(*job)
        ends = _resident_bytes() > KEPT_BYTES
        answers.write(HEAD.pack(len(encoded), ends) + encoded)
        answers.flush()
        if ends:
            return


def answer_to(job: dict[str, Any], inflated: bytes) -> bytes:
    """JSON: `facts` of the body, or why there are none: `unreadable` for the sender, `failed` for the receiver."""
    try:
        return orjson.dumps({"facts": body_facts.read(job["kind"], job["arguments"], inflated)})
    except Unreadable as error:
        return orjson.dumps({"unreadable": str(error)})
    except MemoryError:
        return orjson.dumps({"failed": "memory"})
    except Exception as error:
        return orjson.dumps({"failed": type(error).__name__})


def _resident_bytes() -> int:
    """Memory at this moment; 0 where the system does not say. Not `ru_maxrss`, which begins with the receiver's."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _read_job(jobs: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    length = jobs.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    job = orjson.loads(jobs.read(LENGTH.unpack(length)[0]))
    return job, jobs.read(job["size_bytes"])


if __name__ == "__main__":
    main()
