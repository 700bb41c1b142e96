"""Commands `axonpush channels|keys|environments|organisations`: options and output. ops/registry/changes.py does the
work.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, print_json, print_table
from ops.registry.quotas import BytesOption, RequestsOption, RowsOption, changes, quota_text
from schemas.identifiers import MAX_CHANNEL_ID, is_slug

if TYPE_CHECKING:
    from ops.registry.changes import RegistryWriter
    from schemas.registry import Channel, Environment, Key

Result = TypeVar("Result")

ORIGIN = re.compile(r"\*|(https?://)?(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def slug(text: str) -> str:
    """A valid name of an organisation or environment."""
    if not is_slug(text):
        raise typer.BadParameter(f"expected 1 to 64 of a-z 0-9 . _ - and a letter or digit first, found {text!r}")
    return text


def origin(text: str) -> str:
    """A valid allowed origin, without a trailing slash. A path is refused: an origin has none."""
    text = text.rstrip("/").lower()
    if not ORIGIN.fullmatch(text):
        raise typer.BadParameter(
            f"expected an origin like https://example.com or https://*.example.com, found {text!r}"
        )
    return text


OrganisationOption = Annotated[
    str, typer.Option("--organisation", metavar="O", parser=slug, help="The organisation it belongs to.")
]
EnvironmentArgument = Annotated[str, typer.Argument(metavar="NAME", parser=slug, help="Its name, e.g. production.")]
EnvironmentOption = Annotated[
    str, typer.Option("--environment", metavar="E", parser=slug, help="Environment of the key; created if missing.")
]
ChannelIdOption = Annotated[
    int | None,
    typer.Option(
        "--id", metavar="N", min=1, max=MAX_CHANNEL_ID, help="Number of the channel; default: the next free one."
    ),
]
NameOption = Annotated[str, typer.Option("--name", help="A name for display.")]
ChannelsOption = Annotated[
    list[int] | None,
    typer.Option("--channel", metavar="N", min=1, max=MAX_CHANNEL_ID, help="Allow only this channel; repeatable."),
]
PublicOption = Annotated[bool, typer.Option("--public", help="A public token (pt_) for browsers and apps.")]
OverrideOption = Annotated[
    bool, typer.Option("--allow-environment-override", help="Senders may choose another environment.")
]
OrganisationArgument = Annotated[str, typer.Argument(metavar="O", parser=slug, help="Its name, e.g. default.")]
OriginsOption = Annotated[
    list[str] | None,
    typer.Option("--origin", metavar="URL", parser=origin, help="Web origin that may use a --public key; repeatable."),
]
KeyArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Id of the key as `keys list` shows it, or the key itself.")
]

channels = typer.Typer(help="Create and list channels.", no_args_is_help=True)
keys = typer.Typer(help="Mint, list, limit and revoke keys.", no_args_is_help=True)
organisations = typer.Typer(help="Limit whole organisations.", no_args_is_help=True)
environments = typer.Typer(help="Create and list environments.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    groups = {"channels": channels, "keys": keys, "environments": environments, "organisations": organisations}
    for name, group in groups.items():
        app.add_typer(group, name=name)


@channels.command("create")
def create_channel(
    channel_id: ChannelIdOption = None,
    name: NameOption = "",
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create a channel."""
    made = _run(data_dir, organisation, lambda registry: registry.create_channel(channel_id, name))
    _say(made, f"channel {made.id} of {made.organisation} created", as_json=as_json)


@channels.command("list")
def list_channels(
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List channels."""
    channels = _run(data_dir, organisation, lambda registry: registry.channels())
    if as_json:
        print_json([channel.model_dump(mode="json") for channel in channels])
    else:
        print_table(
            "", ("channel", "name", "created"), [(channel.id, channel.name, channel.created_at) for channel in channels]
        )


@environments.command("create")
def create_environment(
    name: EnvironmentArgument,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create an environment."""
    made = _run(data_dir, organisation, lambda registry: registry.create_environment(name))
    print_json(made.model_dump(mode="json")) if as_json else print(
        f"environment {made.slug} of {made.organisation} created"
    )


@environments.command("list")
def list_environments(
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List environments."""
    environments = _run(data_dir, organisation, lambda registry: registry.environments())
    if as_json:
        print_json([environment.model_dump(mode="json") for environment in environments])
    else:
        print_table(
            "", ("environment", "created"), [(environment.slug, environment.created_at) for environment in environments]
        )


@keys.command("mint")
def mint_key(  # noqa: PLR0913, PLR0917 (options)
    environment: EnvironmentOption,
    channel: ChannelsOption = None,
    public: PublicOption = False,
    allow_environment_override: OverrideOption = False,
    requests: RequestsOption = None,
    size_bytes: BytesOption = None,
    rows: RowsOption = None,
    origins: OriginsOption = None,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create a key and print it, once."""
    from ops.registry.changes import KeyOptions  # noqa: PLC0415

    if origins and not public:
        raise typer.BadParameter("expected --origin together with --public: secret keys are not for browsers")
    grant = KeyOptions(
        environment,
        public=public,
        channels=tuple(channel or ()) or None,
        allow_environment_override=allow_environment_override,
        quota_per_minute=requests,
        quota_bytes_per_minute=size_bytes,
        quota_rows_per_minute=rows,
        origins=tuple(origins or ()) or None,
    )

    async def work(registry: RegistryWriter) -> tuple[str, Key]:
        if await registry.ensure_environment(environment):
            print(f"environment {environment} created", file=sys.stderr)
        return await registry.mint(grant)

    text, key = _run(data_dir, organisation, work)
    if as_json:
        print_json({"key": text, **_described(key)})
    else:
        print(text)
        print(f"key {key.id}: keep it now, it is not shown again", file=sys.stderr)
        if key.is_limited:
            print(f"key {key.id}: {quota_text(key.quota)}", file=sys.stderr)


@keys.command("list")
def list_keys(
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List keys by id; key texts are not stored."""
    keys = _run(data_dir, organisation, lambda registry: registry.keys())
    if as_json:
        print_json([_described(key) for key in keys])
        return
    columns = ("id", "kind", "environment", "channels", "override", "quota a minute", "origins", "created", "state")
    print_table("", columns, [_row(key) for key in keys])


@keys.command("revoke")
def revoke_key(
    key: KeyArgument,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Revoke a key."""
    revoked = _run(data_dir, organisation, lambda registry: registry.revoke(key))
    if as_json:
        print_json(_described(revoked))
    else:
        print(f"key {revoked.id} revoked")


@keys.command("limit")
def limit_key(  # noqa: PLR0913, PLR0917 (options)
    key: KeyArgument,
    requests: RequestsOption = None,
    size_bytes: BytesOption = None,
    rows: RowsOption = None,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Set or remove quotas of a key.

    Quotas that are not named stay unchanged.
    """
    quotas = changes(requests, size_bytes, rows)
    limited = _run(data_dir, organisation, lambda registry: registry.limit(key, quotas))
    if as_json:
        print_json(_described(limited))
    else:
        print(f"key {limited.id}: {quota_text(limited.quota)}")


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
    quotas = changes(requests, size_bytes, rows)
    limited = _run(data_dir, organisation, lambda registry: registry.limit_organisation(quotas))
    if as_json:
        print_json(limited.model_dump(mode="json"))
    else:
        print(f"organisation {limited.slug}: {quota_text(limited.quota)}")


@organisations.command("list")
def list_organisations(as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """List organisations that have a quota."""
    organisations = _run(data_dir, "default", lambda registry: registry.organisations())
    if as_json:
        print_json([organisation.model_dump(mode="json") for organisation in organisations])
    else:
        rows = [
            (organisation.slug, quota_text(organisation.quota), organisation.changed_at)
            for organisation in organisations
        ]
        print_table("", ("organisation", "quota", "changed"), rows)


def _run(data_dir: Path, organisation: str, work: Callable[[RegistryWriter], Awaitable[Result]]) -> Result:
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.registry.changes import open_registry  # noqa: PLC0415

    async def run() -> Result:
        async with open_registry(find_settings(data_dir), organisation) as registry:
            return await work(registry)

    return asyncio.run(run())


def _say(made: Channel | Environment, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        print(text)


def _described(key: Key) -> dict[str, Any]:
    return {"id": key.id, **key.model_dump(mode="json", exclude={"sha256"})}


def _row(key: Key) -> tuple[object, ...]:
    return (
        key.id,
        key.kind,
        key.environment,
        ", ".join(map(str, key.channels)) if key.channels else "all",
        "yes" if key.allow_environment_override else "",
        quota_text(key.quota) if key.is_limited else "",
        ", ".join(key.origins or ()),
        key.created_at,
        "revoked" if key.revoked else "active",
    )
