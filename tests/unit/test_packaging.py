"""What a fresh clone promises: the lock, the two commands, the README's tables, the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from ops.canary import CanarySettings
from ops.janitor import JanitorSettings
from ops.runtime import Settings
from ops.streams import Budgets
from receiver.settings import ReceiverSettings
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
TARGETS = ("install", "up", "test", "clients", "check", "bench", "clean")
SETTINGS: tuple[type[BaseSettings], ...] = (
    Settings,
    Budgets,
    ReceiverSettings,
    WorkerSettings,
    JanitorSettings,
    CanarySettings,
)
# Files that run on somebody else's machine.
SHIPPED = (
    "Makefile",
    ".ci/run",
    "Dockerfile",
    "docker-compose.yml",
    "requirements.lock",
    "pyproject.toml",
    "README.md",
)


def locked() -> dict[str, Requirement]:
    """The pins by canonical name."""
    lines = [line for line in LOCK.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def asked() -> list[Requirement]:
    """What pyproject.toml asks for, development tools included."""
    return [*map(Requirement, PROJECT["dependencies"]), *map(Requirement, PROJECT["optional-dependencies"]["dev"])]


def test_lock_names_versions_and_nothing_else() -> None:
    """No index address, no path, no option: the lock works wherever packages come from."""
    assert "/" not in LOCK
    assert not [line for line in LOCK.splitlines() if line.startswith("-")]
    for requirement in locked().values():
        assert re.fullmatch(r"==[\w.+!]+", str(requirement.specifier)), requirement


def test_lock_satisfies_what_the_project_asks_for() -> None:
    """`make lock` was run after the last change of pyproject.toml."""
    pins = locked()
    for requirement in asked():
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not locked: run make lock"
        pinned = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(pinned, prereleases=True), f"{requirement} locks {pinned}: run make lock"


@pytest.mark.skipif(not Path(sys.prefix).is_relative_to(ROOT), reason="not the environment that make install made")
def test_installed_is_what_is_locked() -> None:
    """Every package of the lock is installed in exactly that version."""
    for name, pin in locked().items():
        if pin.marker is None or pin.marker.evaluate():
            try:
                installed = version(name)
            except PackageNotFoundError:
                pytest.fail(f"{name} is locked but not installed: run make install")
            assert pin.specifier.contains(installed, prereleases=True), name


@pytest.mark.parametrize("target", TARGETS)
def test_every_make_target_says_what_it_does(target: str) -> None:
    """`make` alone lists each target with one line."""
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^make {target} +\S.+$", listed, re.MULTILINE), listed


def test_readme_begins_with_two_commands() -> None:
    """The first block of commands is `make up` and `make test`, nothing more."""
    first = re.search(r"```sh\n(.*?)```", README, re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == ["make up", "make test"]


def setting_rows() -> list[str]:
    """The README's table of settings as the classes would write it; fields of the runtime come first, once."""
    rows: dict[str, str] = {}
    for settings in SETTINGS:
        for name, row in _rows_of(settings).items():
            rows.setdefault(name, row)
    return list(rows.values())


def _rows_of(settings: type[BaseSettings]) -> dict[str, str]:
    rows = {}
    for name, field in settings.model_fields.items():
        assert field.default is not PydanticUndefined, f"{settings.__name__}.{name} needs a default"
        default = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
        text = f"`{default}`" if str(default) != "" else ""
        rows[name] = f"| `AXONPUSH_{name.upper()}` | {text} | {field.description} |".replace("|  |", "| |")
    return rows


def test_the_table_knows_every_class_of_settings() -> None:
    """A new class of settings has to be named here, or its variables would be missing in the README."""
    found = {
        name
        for room in ("schemas", "receiver", "workers", "ops")
        for path in (ROOT / room).rglob("*.py")
        for name in re.findall(r"^class (\w+)\(\w*Settings\)", path.read_text(), re.MULTILINE)
    }
    assert found == {settings.__name__ for settings in SETTINGS}


def test_readme_lists_exactly_the_settings_there_are() -> None:
    """Every AXONPUSH_* variable stands in the README with its default and its meaning, and no other does."""
    found = re.findall(r"^\| `AXONPUSH_.*\|$", README, re.MULTILINE)
    expected = setting_rows()
    assert found == expected, "the table should read:\n" + "\n".join(expected)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_name_no_machine(name: str) -> None:
    """No home, no temporary folder, no package index of whoever wrote it."""
    text = (ROOT / name).read_text()
    assert not re.search(r"/(?:home|root|work|Users|private)/", text)
    assert not re.search(r"(?i)index[-_]url\s*=|trusted-host\s*=|https?://[^\s)\"']*(?:pypi|simple/)", text)


def test_wheel_holds_the_rooms_and_their_tables(tmp_path: Path) -> None:
    """What pip installs has all four rooms, every SQL file, the licence and the command."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "axonpush = ops.cli:main" in archive.read(entry_points).decode()
    tables = {f"schemas/tables/{path.name}" for path in (ROOT / "schemas/tables").glob("*.sql")}
    assert tables
    assert tables <= names
    assert {f"{room}/__init__.py" for room in ("schemas", "receiver", "workers", "ops")} <= names
    assert not {name for name in names if name.startswith("tests/")}
