"""`python -m tests.fuzz.guided [--seconds N]`: libFuzzer over the readers in C, under sanitizers, for days if need be.

It keeps what reaches new code, where tests.fuzz only mutates, and compares every answer with Python's. Needs clang with
its runtime libraries and a shared libpython; skips where there are none. `--corpus` keeps what it found for next time.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from schemas.compiled import build_readers
from schemas.otlp.http_bodies import read_traces
from schemas.otlp.records import OtlpError
from tests.fuzz import twins
from tests.fuzz.targets.twins import messages, requests
from tests.fuzz.twins import Twins

_HARNESS: Final = Path(__file__).with_suffix(".c")
_FLAGS: Final = (
    "-g",
    "-O1",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=all",
    "-Wl,--export-dynamic",
)
_OPTIONS: Final = ("-max_len=3000", "-timeout=20", "-rss_limit_mb=3000", "-print_final_stats=1")


@cache
def _compiled() -> Twins:
    """Both readers, which are built into the fuzzer's own Python."""
    spans, text = map(importlib.import_module, ("_plain_spans", "_plain_json"))
    return Twins(spans.plain_spans, text.plain_messages)


def check(data: bytes) -> None:
    """One input: OTLP/JSON if it begins with a brace, else a Span message. Asserts that both twins say the same."""
    if data[:1] != b"{":
        twins.same_columns(_compiled(), data)
        return
    with twins.read_by(_compiled()):
        found = _read(data)
    with twins.read_by(None):
        assert found == _read(data)


def _read(data: bytes) -> str:
    try:
        return repr(read_traces(data, "json"))
    except OtlpError as error:
        return f"OtlpError: {error}"


def _build(target: Path) -> str:
    """Why it cannot be built, empty if it was."""
    library = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("LDLIBRARY") or "")
    if not shutil.which("clang") or library.suffix != ".so":
        return "no clang, or no shared libpython"
    sources = [_HARNESS, *(build_readers.SOURCES / f"{name}.c" for name in ("_plain_spans", "_plain_json"))]
    include = f"-I{sysconfig.get_path('include')}"
    linked = [str(library), f"-Wl,-rpath,{library.parent}", "-o", str(target)]
    command = ["clang", *_FLAGS, include, *map(str, sources), *linked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr[-500:] if done.returncode else ""


def _seed(corpus: Path) -> None:
    corpus.mkdir(exist_ok=True)
    for number, sample in enumerate([*messages(), *requests("json")]):
        (corpus / f"seed-{number}").write_bytes(sample.body)


def main() -> int:
    """Builds, seeds and runs; the exit code is libFuzzer's, 0 where it could not be built."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, help="folder that keeps the inputs that reached new code")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program, corpus = Path(folder, "fuzzer"), asked.corpus or Path(folder, "corpus")
        if reason := _build(program):
            sys.stdout.write(f"skipped: {reason}\n")
            return 0
        _seed(corpus)
        options = (*_OPTIONS, f"-max_total_time={asked.seconds}", f"-artifact_prefix={tempfile.gettempdir()}/axonpush-")
        made = os.environ | {"AXONPUSH_FUZZ_PYTHON": sys.executable, "PYTHONMALLOC": "malloc"}
        made["ASAN_OPTIONS"] = "detect_leaks=0:quarantine_size_mb=16"
        return subprocess.run([program, *options, corpus], env=made, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
