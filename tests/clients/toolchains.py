"""Where real clients come from: tools of this machine, and packages installed once into `.clients/`. No tests here.

What a client needs is pinned beside its program in `programs/<name>/`: `package.json`, `requirements.txt`, `go.mod`,
`Cargo.toml` or `pom.xml`.
A machine without a tool skips with its name; with AXONPUSH_REQUIRE_CLIENTS=1, which `.ci/run` sets, it fails instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

PROGRAMS = Path(__file__).with_name("programs")
CACHE = Path(__file__).resolve().parents[2] / ".clients"
NODE_MAJOR = 20
INSTALL_TIMEOUT_S = 1_200
JAVA_JARS = ("-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies")
NPM_INSTALL = ("install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def require_node() -> str:
    """The path of node, NODE_MAJOR or newer."""
    node = _tool("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR:
        _missing(f"node is {version}; this client needs {NODE_MAJOR} or newer")
    return node


def require_npm() -> str:
    """The path of npm."""
    return _tool("npm")


def require_go() -> str:
    """The path of go."""
    return _tool("go")


def require_java() -> str:
    """The path of java."""
    return _tool("java")


def require_chromium() -> str:
    """The path of Chromium, by either of the names it is packaged under."""
    return _tool("chromium", "chromium-browser")


def require_openssl() -> str:
    """The path of openssl, which makes certificates."""
    return _tool("openssl")


def require_curl() -> str:
    """The path of curl."""
    return _tool("curl")


@functools.cache
def npm_project(name: str) -> Path:
    """`.clients/<name>`: the files of `programs/<name>`, and what its package.json pins in `node_modules`."""
    require_node()
    npm = require_npm()
    with _installed(name, "package.json") as (folder, fresh):
        shutil.copytree(PROGRAMS / name, folder, dirs_exist_ok=True)
        if fresh:
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            _install([npm, *NPM_INSTALL], folder)
    return folder


@functools.cache
def python_interpreter(name: str) -> Path:
    """The interpreter of an environment that holds only what `programs/<name>/requirements.txt` pins."""
    with _installed(name, "requirements.txt") as (folder, fresh):
        python = folder / "bin" / "python"
        if fresh:
            _install([sys.executable, "-m", "venv", "--clear", str(folder)], CACHE)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
            _install([*pip, "--requirement", str(PROGRAMS / name / "requirements.txt")], CACHE)
    return python


@functools.cache
def go_program(name: str) -> Path:
    """The program built of `programs/<name>`; go itself knows what has changed."""
    go = require_go()
    CACHE.mkdir(exist_ok=True)
    program = CACHE / f"{name}.program"
    command = [go, "build", "-mod=readonly", "-o", str(program), "."]
    with _locked(name):
        _install(command, PROGRAMS / name, GOTOOLCHAIN="local", CGO_ENABLED="0")
    return program


@functools.cache
def rust_program(name: str, binary: str) -> Path:
    """`binary` of the package `programs/<name>`, built without optimisation; cargo itself knows what has changed."""
    cargo, folder = _tool("cargo"), CACHE / name
    with _locked(name):
        shutil.copytree(PROGRAMS / name, folder, dirs_exist_ok=True)
        _install([cargo, "build", "--quiet", "--target-dir", str(folder / "target")], folder)
    return folder / "target" / "debug" / binary


@functools.cache
def java_project(name: str) -> Path:
    """`.clients/<name>`: what its pom.xml pins in `jars`, its programs compiled in `classes`."""
    javac = _tool("javac")
    with _installed(name, "pom.xml") as (folder, fresh):
        shutil.copytree(PROGRAMS / name, folder, dirs_exist_ok=True)
        if fresh:
            shutil.rmtree(folder / "jars", ignore_errors=True)
            _install([_tool("mvn"), *JAVA_JARS, "-DoutputDirectory=jars"], folder)
        _install([javac, "-cp", "jars/*", "-d", "classes", *(one.name for one in folder.glob("*.java"))], folder)
    return folder


def _tool(*names: str) -> str:
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        _missing(f"expected {' or '.join(names)} in PATH, found none; install it to run this client")
    return path


def _missing(reason: str) -> NoReturn:
    if os.environ.get("AXONPUSH_REQUIRE_CLIENTS") == "1":
        pytest.fail(f"{reason} (AXONPUSH_REQUIRE_CLIENTS=1)", pytrace=False)
    pytest.skip(reason)


@contextlib.contextmanager
def _installed(name: str, pins: str) -> Iterator[tuple[Path, bool]]:
    """The client's folder, and whether it has to be installed; remembered when the block ends without an error."""
    folder, stamp = CACHE / name, CACHE / f"{name}.installed"
    wanted = hashlib.sha256((PROGRAMS / name / pins).read_bytes() + sys.version.encode()).hexdigest()
    with _locked(name):
        folder.mkdir(exist_ok=True)
        fresh = not stamp.exists() or stamp.read_text() != wanted
        if fresh:
            stamp.unlink(missing_ok=True)
        yield folder, fresh
        stamp.write_text(wanted)


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    """Two test runs install one client one after the other."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(command: list[str], folder: Path, **settings: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_TIMEOUT_S,
    )
    assert done.returncode == 0, f"{' '.join(command)} in {folder}: {done.stdout}{done.stderr}"
