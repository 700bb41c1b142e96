"""Commands `axonpush organisations …` and `axonpush environments …`. ops/registry/changes.py does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from ops.cli.registry.options import (
    EnvironmentArgument,
    NameArgument,
    NameOption,
    NoteArgument,
    NoteOption,
    OrganisationArgument,
    OrganisationOption,
    known,
    run,
)
from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, print_list, print_made
from ops.registry.quotas import BytesOption, RequestsOption, RowsOption, changes, quota_text

if TYPE_CHECKING:
    from ops.registry.changes import OrganisationSummary

organisations = typer.Typer(help="Create, list, rename and limit organisations.", no_args_is_help=True)
environments = typer.Typer(help="Create and list environments.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(environments, name="environments")
    app.add_typer(organisations, name="organisations")


@organisations.command("create")
def create_organisation(
    organisation: OrganisationArgument,
    name: NameOption = "",
    note: NoteOption = "",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create an organisation."""
    made = run(data_dir, organisation, lambda registry: registry.create_organisation(name, note))
    print_made(made.model_dump(mode="json"), f"organisation {made.slug} created", as_json=as_json)


@organisations.command("list")
def list_organisations(as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """List all organisations with what they own."""
    found = run(data_dir, "default", lambda registry: registry.summaries())
    columns: dict[str, Any] = {
        "organisation": lambda one: one.entry.slug,
        "name": lambda one: one.entry.name,
        "channels": lambda one: _number(one.channels, one.archived_channels, "archived"),
        "keys": lambda one: _number(one.keys, one.revoked_keys, "revoked"),
        "environments": lambda one: one.environments,
        "quota": lambda one: quota_text(one.entry.quota) if one.entry.is_limited else "",
        "created": lambda one: one.entry.created_at,
        "note": lambda one: one.entry.note,
    }
    print_list(found, _described, columns, as_json=as_json)


def _number(total: int, closed: int, word: str) -> str:
    return f"{total} ({closed} {word})" if closed else str(total)


def _described(one: OrganisationSummary) -> dict[str, Any]:
    counts = {
        "channels": one.channels,
        "archived_channels": one.archived_channels,
        "keys": one.keys,
        "revoked_keys": one.revoked_keys,
        "environments": one.environments,
    }
    return one.entry.model_dump(mode="json") | counts


@organisations.command("rename")
def rename_organisation(
    organisation: OrganisationArgument,
    name: NameArgument,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change the displayed name of an organisation."""
    made = run(data_dir, organisation, known(lambda registry: registry.change_organisation({"name": name})))
    print_made(made.model_dump(mode="json"), f"organisation {made.slug} is called {made.name!r} now", as_json=as_json)


@organisations.command("note")
def note_organisation(
    organisation: OrganisationArgument,
    note: NoteArgument,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change the note of an organisation."""
    made = run(data_dir, organisation, known(lambda registry: registry.change_organisation({"note": note})))
    print_made(made.model_dump(mode="json"), f"organisation {made.slug}: {made.note!r}", as_json=as_json)


@organisations.command("limit")
def limit_organisation(  # noqa: PLR0913, PLR0917 (options)
    organisation: OrganisationArgument,
    requests: RequestsOption = None,
    size_bytes: BytesOption = None,
    rows: RowsOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Set or remove quotas of an organisation.

    All its keys share them; quotas that are not named stay unchanged.
    """
    quotas = changes(requests, size_bytes, rows, f"organisation {organisation}")
    limited = run(data_dir, organisation, known(lambda registry: registry.limit_organisation(quotas)))
    text = f"organisation {limited.slug}: {quota_text(limited.quota)}"
    print_made(limited.model_dump(mode="json"), text, as_json=as_json)


@environments.command("create")
def create_environment(
    name: EnvironmentArgument,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create an environment."""
    made = run(data_dir, organisation, known(lambda registry: registry.create_environment(name)))
    print_made(made.model_dump(mode="json"), f"environment {made.slug} of {made.organisation} created", as_json=as_json)


@environments.command("list")
def list_environments(
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List environments."""
    found = run(data_dir, organisation, known(lambda registry: registry.environments()))
    columns: dict[str, Any] = {"environment": lambda one: one.slug, "created": lambda one: one.created_at}
    print_list(found, lambda one: one.model_dump(mode="json"), columns, as_json=as_json)
