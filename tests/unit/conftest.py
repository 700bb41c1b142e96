"""The readers compiled from C in unit tests: built once, and both ways for everything that reads OTLP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.compiled import build_readers
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
def built(tmp_path_factory: pytest.TempPathFactory) -> Twins | str:
    """The compiled readers, from the sources as they are; or why there are none on this machine."""
    found = build_readers.build(tmp_path_factory.mktemp("native"))
    return (twins.load(found.paths[0].parent) if found.paths else None) or found.missing


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
