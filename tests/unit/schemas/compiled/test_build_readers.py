"""Compiling the readers: what is old is made again, what cannot be made is said in one line, and nothing ever fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from schemas.compiled import build_readers
from schemas.compiled.build_readers import BuiltReaders

ROOT = Path(__file__).parents[4]
FILES = [f"{name}{build_readers.SUFFIX}" for name in build_readers.NAMES]


@pytest.fixture
def folder(built_readers: BuiltReaders, tmp_path: Path) -> Path:
    """With every reader, as it was just built; skips where there is no compiler."""
    if not built_readers.paths:
        pytest.skip(built_readers.missing)
    assert [path.name for path in built_readers.paths] == FILES
    shutil.copytree(built_readers.paths[0].parent, tmp_path, dirs_exist_ok=True)  # with their ages
    return tmp_path


def files(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def a_program(folder: Path, text: str) -> str:
    """A shell script that takes the place of the compiler."""
    script = folder / "compiler"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return str(script)


def test_what_is_newer_than_its_sources_stays(folder: Path) -> None:
    """The second time nothing is compiled, and nothing but the readers is left in the folder."""
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    found = build_readers.build(folder)
    assert (found.built, build_readers.summary(found).count("up to date")) == (0, 1)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert files(folder) == sorted(FILES)


def test_what_is_older_than_a_source_is_compiled_again(folder: Path) -> None:
    """Each file by its own age."""
    os.utime(folder / FILES[0], (1, 1))
    assert build_readers.build(folder).built == 1
    assert build_readers.build(folder).built == 0


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("echo 'x.c:1: error: unknown type' >&2; exit 1", "error: unknown type"),
        ("exit 3", "exit code 3"),
        ('while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"', "cannot be loaded"),
        ("exit 0", "cannot be loaded"),
    ],
    ids=["refuses", "says nothing", "writes nonsense", "writes nothing"],
)
def test_what_cannot_be_compiled_leaves_nothing_old(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    """A file of older sources would say something else than the Python beside it. Why there is none is one line."""
    os.utime(folder / FILES[0], (1, 1))
    monkeypatch.setenv("CC", a_program(tmp_path_factory.mktemp("cc"), program))
    found = build_readers.build(folder)
    assert found.paths == []
    assert reason in build_readers.summary(found)
    assert "All works without" in build_readers.summary(found)
    assert "\n" not in build_readers.summary(found)
    assert files(folder) == []


def test_a_process_keeps_the_file_that_it_has_loaded(folder: Path) -> None:
    """A new file takes the old one's place; written over, it would pull the code from under who runs it."""
    held = (folder / FILES[0]).open("rb")
    before = held.read()
    os.utime(folder / FILES[0], (1, 1))
    build_readers.build(folder)
    held.seek(0)
    assert held.read() == before
    assert os.fstat(held.fileno()).st_ino != (folder / FILES[0]).stat().st_ino
    held.close()


def test_no_compiler_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command ends well, and says in one line that everything works without."""
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "schemas.compiled.build_readers"],
        cwd=tmp_path,
        env=os.environ | {"CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("compiled readers of OTLP spans: none (no C compiler: no-such-compiler is not there)")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.parametrize("has_compiler", [True, False])
def test_a_wheel_has_what_could_be_compiled(tmp_path: Path, has_compiler: bool, folder: Path) -> None:
    """With a compiler it is for this Python and machine, without one for all, whatever lies in the tree."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "wheel")]
    made = os.environ if has_compiler else os.environ | {"CC": "no-such-compiler"}
    built = subprocess.run(command, cwd=ROOT, env=made, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        compiled = sorted(name for name in archive.namelist() if name.endswith(".so"))
    assert compiled == ([f"schemas/compiled/{name}" for name in sorted(FILES)] if has_compiler else [])
    assert wheel.name.endswith("-py3-none-any.whl") is not has_compiler


@pytest.mark.parametrize("name", [path.name for path in build_readers.SOURCES.glob("_*.[ch]")])
def test_a_file_compiled_by_a_newer_python_serves_an_older_one(name: str) -> None:
    """Formats of lengths mean one thing before CPython 3.13 and another since: SystemError for every body."""
    text = (build_readers.SOURCES / name).read_text()
    assert not re.search(r"PyArg_Parse|Py_BuildValue|PyObject_Call(Function|Method)\(", text)


def test_a_file_that_cannot_be_loaded_here_is_not_fresh(folder: Path) -> None:
    """Left by another system that shares the folder, say: however new it is."""
    (folder / FILES[1]).write_bytes(b"not for this machine")
    assert build_readers.build(folder).built == 1
    assert build_readers.build(folder).built == 0


def test_make_compiles_again_when_a_source_changes() -> None:
    """The rule of .installed names every source in C, and what compiles them."""
    printed = subprocess.run(["make", "-pnq"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    rule = next(line for line in printed.splitlines() if line.startswith(".venv/.installed:"))
    sources = [
        path.relative_to(ROOT)
        for pattern in ("_*.c", "include/*.h")
        for path in (ROOT / "schemas/compiled").glob(pattern)
    ]
    assert len(sources) > 2
    assert {str(path) for path in sources} | {"schemas/compiled/build_readers.py"} <= set(rule.split())


def test_a_python_without_its_headers_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever its folder of headers is, also one that does not exist."""
    include = tmp_path / "include"
    monkeypatch.setattr(build_readers.sysconfig, "get_path", lambda _name: str(include))
    for makes_folder in (False, True):
        if makes_folder:
            include.mkdir()
        with pytest.raises(build_readers.CannotBuildError, match=r"no Python\.h"):
            build_readers._include()
    (include / "Python.h").touch()
    assert build_readers._include() == str(include)
