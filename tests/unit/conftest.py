"""The readers compiled from C in unit tests: built once, and both ways for everything that reads OTLP."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from ops.cli import servers
from schemas.compiled import build_readers
from schemas.compiled.build_readers import BuiltReaders
from tests.fuzz import twins
from tests.fuzz.twins import Twins

# Modules whose every test reads spans, and has to hold with the compiled readers and without.
BOTH_WAYS = (
    *(
        "workers.normalise.otlp.test_body",
        "workers.normalise.otlp.test_fuzz",
        "workers.normalise.otlp.test_verdicts",
        "schemas.otlp.test_json_body",
    ),
    *(
        "schemas.otlp.test_limits",
        "schemas.otlp.test_pitfalls",
        "schemas.otlp.test_protobuf_body",
        "schemas.otlp.test_reader",
    ),
)


@pytest.fixture(scope="session")
def built_readers(tmp_path_factory: pytest.TempPathFactory) -> BuiltReaders:
    """The files of the compiled readers, from the sources as they are: made once for all processes of a run."""
    of_process = tmp_path_factory.getbasetemp()
    folder = (of_process.parent if "PYTEST_XDIST_WORKER" in os.environ else of_process) / "compiled"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_first = not folder.exists()
        folder.mkdir(exist_ok=True)
        found = build_readers.build(folder)
    assert not found.paths or found.built == (len(build_readers.NAMES) if is_first else 0)
    return found


@pytest.fixture(scope="session")
def built(built_readers: BuiltReaders) -> Twins | str:
    """The compiled readers; or why there are none on this machine."""
    return (twins.load(built_readers.paths[0].parent) if built_readers.paths else None) or built_readers.missing


@pytest.fixture(scope="session")
def compiled(built: Twins | str) -> Twins:
    """The compiled readers; skips where there is no compiler, and only there."""
    if isinstance(built, str):
        pytest.skip(built)
    return built


@pytest.fixture(scope="module", autouse=True)
def readers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Reads spans in Python or by the compiled readers; where neither is asked for, by what is installed."""
    way = getattr(request, "param", None)
    if way is None:
        yield
        return
    with twins.read_by(request.getfixturevalue("compiled") if way == "compiled" else None):
        yield


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of those modules twice, whatever is installed."""
    if metafunc.module.__name__.removeprefix("tests.unit.") in BOTH_WAYS:
        metafunc.parametrize("readers", ["python", "compiled"], indirect=True, scope="module")


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command says a warning once; each test stands for a command."""
    monkeypatch.setattr(servers, "_said", set())
