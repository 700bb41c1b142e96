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
    after_check,
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
    entry = run(data_dir, organisation, lambda registry: registry.create_organisation(name, note))
    print_made(entry.model_dump(mode="json"), f"organisation {entry.slug} created", as_json=as_json)


@organisations.command("list")
def list_organisations(as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """List all organisations with what they own."""
    summaries = run(data_dir, "default", lambda registry: registry.summaries())
    columns: dict[str, Any] = {
        "organisation": lambda summary: summary.entry.slug,
        "name": lambda summary: summary.entry.name,
        "channels": lambda summary: _number(summary.channels, summary.archived_channels, "archived"),
        "keys": lambda summary: _number(summary.keys, summary.revoked_keys, "revoked"),
        "environments": lambda summary: summary.environments,
        "quota": lambda summary: quota_text(summary.entry.quota) if summary.entry.is_limited else "",
        "created": lambda summary: summary.entry.created_at,
        "note": lambda summary: summary.entry.note,
    }
    print_list(summaries, _summary_json, columns, as_json=as_json)


def _number(total: int, closed: int, word: str) -> str:
    return f"{total} ({closed} {word})" if closed else str(total)


def _summary_json(summary: OrganisationSummary) -> dict[str, Any]:
    counts = {
        "channels": summary.channels,
        "archived_channels": summary.archived_channels,
        "keys": summary.keys,
        "revoked_keys": summary.revoked_keys,
        "environments": summary.environments,
    }
    return summary.entry.model_dump(mode="json") | counts


@organisations.command("rename")
def rename_organisation(
    organisation: OrganisationArgument,
    name: NameArgument,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change the displayed name of an organisation."""
    entry = run(data_dir, organisation, after_check(lambda registry: registry.change_organisation({"name": name})))
    print_made(
        entry.model_dump(mode="json"), f"organisation {entry.slug} is called {entry.name!r} now", as_json=as_json
    )


@organisations.command("note")
def note_organisation(
    organisation: OrganisationArgument,
    note: NoteArgument,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change the note of an organisation."""
    entry = run(data_dir, organisation, after_check(lambda registry: registry.change_organisation({"note": note})))
    print_made(entry.model_dump(mode="json"), f"organisation {entry.slug}: {entry.note!r}", as_json=as_json)


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
    limited = run(data_dir, organisation, after_check(lambda registry: registry.limit_organisation(quotas)))
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
    entry = run(data_dir, organisation, after_check(lambda registry: registry.create_environment(name)))
    print_made(
        entry.model_dump(mode="json"), f"environment {entry.slug} of {entry.organisation} created", as_json=as_json
    )


@environments.command("list")
def list_environments(
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List environments."""
    environments = run(data_dir, organisation, after_check(lambda registry: registry.environments()))
    columns: dict[str, Any] = {"environment": lambda entry: entry.slug, "created": lambda entry: entry.created_at}
    print_list(environments, lambda entry: entry.model_dump(mode="json"), columns, as_json=as_json)
