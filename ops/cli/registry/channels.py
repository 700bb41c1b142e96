"""Commands `axonpush channels …`. ops/registry/changes.py does the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.cluster import PublicUrlOption
from ops.cli.registry.options import (
    AllOption,
    ChannelArgument,
    ChannelIdOption,
    NameArgument,
    NameOption,
    NewEnvironmentOption,
    NewSlugOption,
    NoteArgument,
    NoteOption,
    OrganisationOption,
    PublicOption,
    SlugOption,
    after_check,
    check_environment,
    ensure_environment,
    run,
    slug,
)
from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, print_list, print_made, with_folder

if TYPE_CHECKING:
    from ops.registry.changes import RegistryWriter
    from schemas.registry import Channel, Key

MintOption = Annotated[
    str | None,
    typer.Option("--environment", metavar="E", parser=slug, help="Also mint a key of this environment for it."),
]

NewOrganisationOption = Annotated[
    bool, typer.Option("--new-organisation", help="Create the organisation too, if it does not exist.")
]

channels = typer.Typer(help="Create, list, rename and archive channels.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(channels, name="channels")


@channels.command("create")
def create_channel(  # noqa: PLR0913, PLR0917 (options)
    channel_id: ChannelIdOption = None,
    name: NameOption = "",
    project_slug: SlugOption = None,
    note: NoteOption = "",
    environment: MintOption = None,
    new_environment: NewEnvironmentOption = False,
    public: PublicOption = False,
    public_url: PublicUrlOption = None,
    organisation: OrganisationOption = "default",
    new_organisation: NewOrganisationOption = False,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create a channel, and with --environment its first key.

    The organisation must exist, or --new-organisation creates it.
    """
    from ops.registry.key_options import KeyOptions  # noqa: PLC0415

    if public and environment is None:
        raise typer.BadParameter("expected --public together with --environment, which mints a key")

    async def work(registry: RegistryWriter) -> tuple[Channel, tuple[str, Key] | None]:
        others = await registry.organisation_slugs()
        if not new_organisation:
            _check_organisation(organisation, others)
        if environment is not None:
            await check_environment(registry, environment, is_new=new_environment)
        used = await _used_numbers(data_dir, channel_id, organisation)
        channel = await registry.create_channel(channel_id, name, note, project_slug or "", used=used)
        if organisation not in others:
            await registry.change_organisation({})
            _tell_new_organisation(organisation, others)
        if environment is None:
            return channel, None
        await ensure_environment(registry, environment)
        return channel, await registry.mint(KeyOptions(environment, public=public, channels=(channel.id,), name=name))

    channel, minted = run(data_dir, organisation, work)
    text = f"channel {channel.id} of {channel.organisation} created"
    if minted is None:
        print_made(channel.model_dump(mode="json"), text, as_json=as_json)
        if not as_json:
            print(_how_to_mint(channel), file=sys.stderr)
        return
    from ops.cli.registry.keys import show_minted  # noqa: PLC0415

    if not as_json:
        print(text, file=sys.stderr)
    show_minted(data_dir, *minted, public_url=public_url, as_json=as_json, channel=channel)


async def _used_numbers(data_dir: Path, channel_id: int | None, organisation: str) -> int:
    """The highest channel that tables have rows of: after a lost broker the registry does not know it. Raises Failed
    for a number whose rows are another organisation's."""
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.registry.table_channels import table_channels  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    owners = await table_channels(find_settings(data_dir))
    if owners is None:
        text = "ClickHouse could not be asked which channels have rows: the number follows the registry alone"
        print(text, file=sys.stderr)
        return 0
    if others := owners.get(channel_id or 0, set()) - {organisation}:
        raise Failed(
            f"the tables have rows of channel {channel_id} of organisation {', '.join(sorted(others))}: leave --id out "
            "for a number without rows. After a lost broker, `axonpush registry import FILE` first brings channels and "
            "keys back. Nothing was changed."
        )
    return max(owners, default=0)


def _check_organisation(organisation: str, others: set[str]) -> None:
    """A mistyped name would make a second organisation, which nothing removes. Raises Failed."""
    from ops.registry.names import existing  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    if organisation not in others:
        raise Failed(
            f"expected an organisation that exists, found {organisation}; "
            f"{existing('organisations', others, organisation)}. If a new one is meant: add --new-organisation, or "
            f"first `axonpush organisations create {organisation}`. Nothing was changed."
        )


def _tell_new_organisation(organisation: str, others: set[str]) -> None:
    from ops.registry.names import existing  # noqa: PLC0415

    before = existing("organisations", others, organisation)
    print(f"organisation {organisation} is new and was created; before, {before}", file=sys.stderr)


def _how_to_mint(channel: Channel) -> str:
    from ops.registry.names import of_organisation  # noqa: PLC0415

    option = of_organisation(channel.organisation)
    return with_folder(f"its key: `axonpush keys mint --environment production --channel {channel.id}{option}`")


@channels.command("list")
def list_channels(
    every: AllOption = False,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List channels."""
    channels = run(
        data_dir,
        organisation,
        (lambda registry: registry.all_channels()) if every else after_check(lambda registry: registry.channels()),
    )
    organisations: dict[str, Any] = {"organisation": lambda channel: channel.organisation} if every else {}
    columns: dict[str, Any] = {
        "channel": lambda channel: channel.id,
        **organisations,
        "slug": lambda channel: channel.project_slug,
        "name": lambda channel: channel.name,
        "state": lambda channel: f"archived {channel.archived_at}" if channel.archived_at else "open",
        "created": lambda channel: channel.created_at,
        "note": lambda channel: channel.note,
    }
    print_list(channels, lambda channel: channel.model_dump(mode="json"), columns, as_json=as_json)


@channels.command("rename")
def rename_channel(
    number: ChannelArgument,
    name: NameArgument,
    project_slug: NewSlugOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change the name of a channel.

    With --slug also its slug: tools must use the new one from then on; short ids of issues change with it.
    """
    channel = run(data_dir, "default", lambda registry: registry.rename_channel(number, name, project_slug))
    text = f"channel {number} is called {channel.name!r} now" + (
        f", its slug is {channel.slug}" if project_slug else ""
    )
    print_made(channel.model_dump(mode="json"), text, as_json=as_json)


@channels.command("note")
def note_channel(
    number: ChannelArgument,
    note: NoteArgument,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change the note of a channel."""
    channel = run(data_dir, "default", lambda registry: registry.note_channel(number, note))
    print_made(channel.model_dump(mode="json"), f"channel {number}: {channel.note!r}", as_json=as_json)


@channels.command("archive")
def archive_channel(
    number: ChannelArgument, as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR
) -> None:
    """Close a channel for new data.

    Senders get 403 within a second; its rows stay.
    """
    _archive(data_dir, number, archived=True, as_json=as_json)


@channels.command("unarchive")
def unarchive_channel(
    number: ChannelArgument, as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR
) -> None:
    """Open an archived channel again."""
    _archive(data_dir, number, archived=False, as_json=as_json)


def _archive(data_dir: Path, number: int, *, archived: bool, as_json: bool) -> None:
    channel = run(data_dir, "default", lambda registry: registry.archive_channel(number, archived=archived))
    text = "archived: senders get 403 within a second, its rows stay" if archived else "open again"
    print_made(channel.model_dump(mode="json"), f"channel {number} is {text}", as_json=as_json)
