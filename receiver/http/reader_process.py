"""The child process that reads large bodies for a receiver, so that a hostile one delays no other request.

Reads jobs from its standard input and answers on its standard output, one after another, until the input ends. A job is
four bytes of length, JSON of that length that says how many bytes of a body follow, and these. An answer is four bytes
of length, one that says whether the process ends after it, and JSON. Has no secrets, no connections, a bound on its
memory, and a low priority.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, BinaryIO, Final

import orjson

from ops.runtime.process.child_limits import limit_this_process, resident_bytes
from receiver.http import body_facts
from receiver.http.body_facts import Unreadable

LENGTH: Final = struct.Struct(">I")
HEAD: Final = struct.Struct(">I?")
MEMORY_BYTES: Final = 1024 * 1024 * 1024
# Python may keep what it once had: above this the process ends, and the next job starts another one.
KEPT_BYTES: Final = 128 * 1024 * 1024
NICENESS: Final = 5


def main() -> None:
    """Answers jobs until the receiver closes its end."""
    limit_this_process(MEMORY_BYTES, NICENESS)
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(HEAD.pack(0, False))  # started: from now on the time of jobs counts
    answers.flush()
    while (job := _read_job(jobs)) is not None:
        encoded = answer_to(*job)
        ends = resident_bytes() > KEPT_BYTES
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


def _read_job(jobs: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    length = jobs.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    job = orjson.loads(jobs.read(LENGTH.unpack(length)[0]))
    return job, jobs.read(job["size_bytes"])


if __name__ == "__main__":
    main()
