"""What a fuzz target is: seed inputs, the function under test, and what that function may raise. No mutation here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

# How an input is built, which tells a mutator where its joints are. "http" is a request as HTTP/1.1 writes it.
Shape = Literal["json", "protobuf", "lines", "http", "bytes"]


class Sample(NamedTuple):
    """One valid input to start from."""

    body: bytes
    shape: Shape


@dataclass(frozen=True, slots=True)
class Target:
    """One function under test.

    `corpus` makes the samples, the same ones in every process. `run` gives True for an input that was accepted, False
    for one that was refused with reasons, and asserts what must hold of both; `may_raise` are refusals too. Any other
    exception is an escape, and so is a hang.
    """

    name: str
    corpus: Callable[[], Sequence[Sample]]
    run: Callable[[bytes], bool]
    may_raise: tuple[type[Exception], ...] = ()
