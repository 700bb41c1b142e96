"""Commands `axonpush registry export|import`: options, output, and file access. ops/registry/file_copy.py does the
work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, print_json, warn

if TYPE_CHECKING:
    from ops.registry.file_copy import Imported, StoredEntry

STANDARD: str = "-"
MAX_NAMED = 20

TargetArgument = Annotated[str, typer.Argument(metavar="FILE|-", help="File to write; - is stdout.")]
SourceArgument = Annotated[str, typer.Argument(metavar="FILE|-", help="File that `export` wrote; - is stdin.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only check the file and show what would change.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Also replace entries that differ; revoked keys stay revoked.")
]

ReplaceOption = Annotated[
    bool, typer.Option("--overwrite", help="Also replace a file that is no export of this system.")
]

registry = typer.Typer(help="Back up and restore channels, keys and environments.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(registry, name="registry")


@registry.command("export")
def export_registry(
    target: TargetArgument,
    overwrite: ReplaceOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Write all entries as JSON lines; keys as hashes.

    An older export of the same system is replaced.
    """
    from ops.registry.changes import utc_now  # noqa: PLC0415
    from ops.registry.file_copy import count_kinds, encode_file  # noqa: PLC0415

    if as_json and target == STANDARD:
        raise typer.BadParameter("expected --json only together with a file: the export itself goes to stdout")
    entries, system = _read(data_dir)
    if not overwrite and target != STANDARD:
        check_target(Path(target), system)
    data = encode_file(entries, utc_now(), system)
    if target == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        _write_file(Path(target), data)
    if as_json:
        print_json({"file": target, "entries": len(entries), **count_kinds(entries)})
    else:
        parts = ", ".join(f"{kind} {number}" for kind, number in count_kinds(entries).items())
        print(f"{len(entries)} entries exported ({parts})", file=sys.stderr if target == STANDARD else sys.stdout)


@registry.command("import")
def import_registry(
    source: SourceArgument,
    dry_run: DryRunOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Add missing entries from a file.

    A second run changes nothing.
    """
    from ops.registry.file_copy import parse_file, system_of_file  # noqa: PLC0415

    data = _read_file(source)
    entries = parse_file(data)
    done = _import(data_dir, entries, system_of_file(data) or "", overwrite=overwrite, dry_run=dry_run)
    if as_json:
        counts = {"added": done.added, "replaced": done.replaced, "kept": done.kept, "unchanged": done.unchanged}
        counts["changes"] = done.changes
        print_json({"dry_run": dry_run, "entries": len(entries), **counts, "conflicts": list(map(str, done.conflicts))})
        _refuse_conflicts(done, dry_run=dry_run)
        return
    would = "would be " if dry_run else ""
    print(
        f"{len(entries)} entries: {len(done.added)} {would}added, {len(done.replaced)} {would}replaced, "
        f"{done.unchanged} unchanged"
    )
    if done.kept:
        more = ", …" if len(done.kept) > MAX_NAMED else ""
        print(f"{len(done.kept)} differ and were not changed: {', '.join(done.kept[:MAX_NAMED])}{more}")
        print(
            "--overwrite replaces them, except revoked keys and cluster.desired, which `axonpush cluster set` changes"
        )
    if lines := change_lines(done):
        print("\n".join(["changed:" if done.replaced and not dry_run else "it would change:", *lines]))
    _refuse_conflicts(done, dry_run=dry_run)


def change_lines(done: Imported) -> list[str]:
    """One line for each entry that is or would be replaced, those first that take something from somebody."""
    from ops.registry.entry_changes import takes_something  # noqa: PLC0415

    by_loss = sorted(done.changes.items(), key=lambda entry: not any(map(takes_something, entry[1])))
    lines = [f"{name}: {'; '.join(texts)}" for name, texts in by_loss]
    more = len(lines) - MAX_NAMED
    return [*lines[:MAX_NAMED], f"… and {more} more"] if more > 0 else lines


def check_target(target: Path, here: str) -> None:
    """The backup of another system must not be lost to a wrong shell, nor another file to a slip. Raises Failed.

    `here` is the id of this system; empty if it has none.
    """
    from ops.provisioning.system.refusals import short  # noqa: PLC0415
    from ops.registry.file_copy import system_of_file  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    if not target.exists():
        return
    of_target = system_of_file(_read_file(str(target)))
    if of_target in {"", here}:  # an older version wrote no id
        return
    what = (
        "a file that is no export"
        if of_target is None
        else f"the export of another system ({short(of_target)}; this one is {short(here)})"
    )
    raise Failed(
        f"expected a new file, or an older export of this system, found {what} at {target}: name another file, or add "
        "--overwrite. Nothing was written."
    )


def _refuse_conflicts(done: Imported, *, dry_run: bool) -> None:
    """Exit code 1 if channels of the file are another organisation's here. Raises Failed."""
    from ops.runtime.failures import Failed  # noqa: PLC0415

    if done.conflicts:
        rest = "would be imported; nothing was changed" if dry_run else "was imported"
        raise Failed(
            "; ".join(map(str, done.conflicts)) + f". The rest of the file {rest}. If the channel here was created "
            "by mistake after the registry was lost: `axonpush registry import FILE --overwrite` gives it to its owner "
            "in the file; keys here that send to it are refused then"
        )


def _read(data_dir: Path) -> tuple[list[StoredEntry], str]:
    """All entries, and the id of the system."""
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415
    from ops.provisioning.desired_state import stored_state  # noqa: PLC0415
    from ops.registry.connection import open_bucket  # noqa: PLC0415
    from ops.registry.file_copy import RegistryCopy  # noqa: PLC0415

    async def run() -> tuple[list[StoredEntry], str]:
        settings = find_settings(data_dir)
        tell_system(settings, data_dir)
        async with open_bucket(settings) as (client, bucket):
            state = await stored_state(client.jetstream(timeout=5))
            return await RegistryCopy(client, bucket).read(), state.system_id if state else ""

    return asyncio.run(run())


def tell_origin(of_file: str, here: str) -> None:
    """As after a lost broker, or a slip: keys of another system are valid here from now on."""
    from ops.provisioning.system.refusals import short  # noqa: PLC0415

    if of_file and here and of_file != here:
        warn(
            f"the file is of system {short(of_file)}, this one is {short(here)}: its active keys and tokens are valid "
            "here too. `axonpush keys list --all` shows them, `axonpush keys revoke` ends one"
        )


def _import(
    data_dir: Path, entries: Sequence[StoredEntry], of_file: str, *, overwrite: bool, dry_run: bool
) -> Imported:
    """`of_file`: the id of the system that the file names."""
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415
    from ops.provisioning.desired_state import stored_state  # noqa: PLC0415
    from ops.registry.connection import open_bucket  # noqa: PLC0415
    from ops.registry.file_copy import RegistryCopy  # noqa: PLC0415

    async def run() -> Imported:
        settings = find_settings(data_dir)
        tell_system(settings, data_dir)
        async with open_bucket(settings) as (client, bucket):
            state = await stored_state(client.jetstream(timeout=5))
            tell_origin(of_file, state.system_id if state else "")
            return await RegistryCopy(client, bucket).write(entries, overwrite=overwrite, dry_run=dry_run)

    return asyncio.run(run())


def _read_file(source: str) -> bytes:
    from ops.runtime.failures import Failed  # noqa: PLC0415

    try:
        return sys.stdin.buffer.read() if source == STANDARD else Path(source).read_bytes()
    except OSError as error:
        raise Failed(f"expected a file to read at {source}, found: {error}") from error


def _write_file(target: Path, data: bytes) -> None:
    """Writes the whole file or nothing, readable only by its owner: it names customers and allowed origins."""
    from ops.runtime.failures import Failed  # noqa: PLC0415

    fresh = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise Failed(f"expected a file to write at {target}, found: {error}") from error
