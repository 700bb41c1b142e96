"""Commands `axonpush keys …`. ops/registry/changes.py does the work."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ops.cli.cluster import PublicUrlOption
from ops.cli.registry.options import (
    AllOption,
    AnyOrganisationOption,
    ChannelsOption,
    EnvironmentOption,
    KeyArgument,
    NameArgument,
    NameOption,
    NewEnvironmentOption,
    NoteArgument,
    NoteOption,
    OrganisationOption,
    OriginsOption,
    OverrideOption,
    PublicOption,
    after_check,
    check_environment,
    ensure_environment,
    in_registry,
    run,
)
from ops.cli.terminal import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    JsonOption,
    print_json,
    print_list,
    print_made,
    warn,
    with_folder,
)
from ops.registry.quotas import BytesOption, RequestsOption, RowsOption, changes, check_more_than_0, quota_text

if TYPE_CHECKING:
    from ops.registry.changes import RegistryWriter
    from ops.registry.key_options import KeyOptions
    from ops.registry.last_use import LastUse
    from ops.registry.sender_settings import SenderSettings
    from ops.runtime.settings import Settings
    from schemas.registry import Channel, Key

UNKNOWN = "unknown"

keys = typer.Typer(help="Mint, list, limit and revoke keys.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(keys, name="keys")


@keys.command("mint")
def mint_key(  # noqa: PLR0913, PLR0917 (options)
    environment: EnvironmentOption,
    new_environment: NewEnvironmentOption = False,
    channel: ChannelsOption = None,
    name: NameOption = "",
    note: NoteOption = "",
    public: PublicOption = False,
    allow_environment_override: OverrideOption = False,
    requests: RequestsOption = None,
    size_bytes: BytesOption = None,
    rows: RowsOption = None,
    origins: OriginsOption = None,
    public_url: PublicUrlOption = None,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create a key and print it, once, with what a sender needs.

    The key is on stdout, its DSN and OpenTelemetry settings are on stderr.
    """
    from ops.registry.key_options import KeyOptions  # noqa: PLC0415

    if origins and not public:
        raise typer.BadParameter("expected --origin together with --public: secret keys are not for browsers")
    check_more_than_0(requests, size_bytes, rows, f"the new key of {organisation}")
    grant = KeyOptions(
        environment,
        public=public,
        channels=tuple(dict.fromkeys(channel or ())) or None,
        allow_environment_override=allow_environment_override,
        quota_per_minute=requests,
        quota_bytes_per_minute=size_bytes,
        quota_rows_per_minute=rows,
        origins=tuple(origins or ()) or None,
        name=name,
        note=note,
    )
    text, key, only = run(data_dir, organisation, lambda registry: _mint(registry, grant, new=new_environment))
    show_minted(data_dir, text, key, public_url=public_url, as_json=as_json, channel=only)


async def _mint(registry: RegistryWriter, grant: KeyOptions, *, new: bool = False) -> tuple[str, Key, Channel | None]:
    """Everything is checked before the environment is created. The channel is that of the printed settings."""
    await registry.check_grant(grant)
    await check_environment(registry, grant.environment, is_new=new)
    await ensure_environment(registry, grant.environment)
    text, key = await registry.mint(grant)
    usable = [channel for channel in await registry.channels() if not channel.archived_at]
    if key.channels is not None:
        usable = [channel for channel in usable if channel.id in key.channels]
    return text, key, usable[0] if usable else None


def show_minted(  # noqa: PLR0913 (one per part of the output)
    data_dir: Path, text: str, key: Key, *, public_url: str | None, as_json: bool, channel: Channel | None
) -> None:
    """Prints a new key: alone on stdout, so that scripts can take it, and settings to paste on stderr."""
    from ops.registry.names import of_organisation  # noqa: PLC0415
    from ops.registry.sender_settings import UNKNOWN_URL, SenderSettings  # noqa: PLC0415

    url = public_url or asyncio.run(_public_url(data_dir))
    sender = SenderSettings(url or UNKNOWN_URL, text, channel.id) if channel else None
    if as_json:
        usable = sender.as_json() if sender and url else {"dsn": None, "otlp_endpoint": None, "otlp_headers": None}
        print_json({"key": text, **key_json(key), **usable})
        return
    print(text, flush=True)
    print(f"key {key.id}: keep it now, it is not shown again", file=sys.stderr)
    if key.is_limited:
        print(f"key {key.id}: {quota_text(key.quota)}", file=sys.stderr)
    if sender is None:
        create = f"axonpush channels create{of_organisation(key.organisation)}"
        print(with_folder(f"there is no channel to send to yet: `{create}` creates one"), file=sys.stderr)
        return
    _print_sender(sender, key, is_known=bool(url))


def _print_sender(sender: SenderSettings, key: Key, *, is_known: bool) -> None:
    print("\n".join(("\n# Sentry SDKs", *sender.sentry_lines())), file=sys.stderr)
    print("\n".join(("# OpenTelemetry", *sender.otlp_lines())), file=sys.stderr)
    if key.channels is None or len(key.channels) > 1:
        print(f"# for another channel, replace {sender.channel} in both", file=sys.stderr)
    if not is_known:
        print(
            with_folder(
                "# put your address in: it is not known here. `axonpush cluster set --public-url URL` keeps it"
            ),
            file=sys.stderr,
        )


async def _public_url(data_dir: Path) -> str:
    """The address for senders: of the desired state, else of the `up` of this folder; empty if unknown."""
    from ops.cli.servers import READY_FILE, find_settings, open_nats, read_json  # noqa: PLC0415
    from ops.provisioning.desired_state import stored_state  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    settings = find_settings(data_dir)
    try:
        async with open_nats(settings, "public-url") as client:
            state = await stored_state(client.jetstream(timeout=5))
    except Failed:  # the key was made and must be shown whatever happens
        state = None
    if state and state.public_url:
        return state.public_url
    ready = read_json(data_dir / READY_FILE)
    url, nats_url = ready.get("url"), ready.get("nats_url")
    is_of_this_broker = isinstance(nats_url, str) and _hosts(nats_url) == _hosts(settings.nats_url)
    return url if isinstance(url, str) and is_of_this_broker else ""


def _hosts(nats_url: str) -> set[str]:
    """The servers of an address, without users."""
    return {address.strip().rpartition("@")[2].rpartition("/")[2] for address in nats_url.split(",")}


@keys.command("list")
def list_keys(
    every: AllOption = False,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List keys by id; key texts are not stored.

    `last used` is "unknown" if ClickHouse does not answer, or belongs to another system, and "not since …" for a key
    that is older than what ClickHouse holds.
    """
    from ops.cli.servers import find_settings  # noqa: PLC0415

    keys, used = asyncio.run(_keys(find_settings(data_dir), data_dir, organisation, every=every))

    def last_used(key: Key) -> str:
        return UNKNOWN if used is None else used.text(key.id, key.created_at)

    def document(key: Key) -> dict[str, Any]:
        last_use_fields = (
            {"last_used": last_used(key), "last_used_known_since": used.known_since} if used else {"last_used": None}
        )
        return key_json(key) | last_use_fields

    print_list(keys, document, _columns(last_used, every=every), as_json=as_json)


async def _keys(
    settings: Settings, data_dir: Path, organisation: str, *, every: bool
) -> tuple[list[Key], LastUse | None]:
    from ops.registry.last_use import last_use  # noqa: PLC0415

    work: Any = (lambda registry: registry.all_keys()) if every else after_check(lambda registry: registry.keys())
    keys = await in_registry(data_dir, organisation, work)
    if not keys:
        return keys, None
    if wrong := await _two_systems(settings):
        warn(f"last used: unknown, because this shell names two systems: {wrong}")
        return keys, None
    return keys, await last_use(settings, (key.id for key in keys))


async def _two_systems(settings: Settings) -> str:
    """What is wrong if broker and tables belong to two systems; empty if nothing is, or ClickHouse is away."""
    from ops.cli.servers import open_nats  # noqa: PLC0415
    from ops.provisioning.system.same_system import check_same_system  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    async with open_nats(settings, "keys") as client:
        try:
            await check_same_system(client, settings, needs_clickhouse=False, needs_tables=False)
        except Failed as error:
            return str(error).removesuffix(" Nothing was changed.")
    return ""


def _columns(last_used: Callable[[Key], str], *, every: bool) -> dict[str, Callable[[Key], object]]:
    organisation: dict[str, Callable[[Key], object]] = {"organisation": lambda key: key.organisation} if every else {}
    return {
        "id": lambda key: key.id,
        **organisation,
        "name": lambda key: key.name,
        "kind": lambda key: key.kind,
        "environment": lambda key: key.environment,
        "channels": lambda key: ", ".join(map(str, key.channels)) if key.channels else "all",
        "state": lambda key: "revoked" if key.revoked else "active",
        "created": lambda key: key.created_at,
        "last used": last_used,
        "override": lambda key: "yes" if key.allow_environment_override else "",
        "quota a minute": lambda key: quota_text(key.quota) if key.is_limited else "",
        "origins": lambda key: ", ".join(key.origins or ()),
        "note": lambda key: key.note,
    }


@keys.command("revoke")
def revoke_key(
    key: KeyArgument,
    organisation: AnyOrganisationOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Revoke a key of any organisation."""

    async def work(registry: RegistryWriter) -> tuple[bool, Key]:
        return (await registry.key(key, organisation)).revoked, await registry.revoke(key, organisation)

    was_revoked, revoked = run(data_dir, "default", work)
    text = "was revoked before: nothing was changed" if was_revoked else "revoked"
    print_made(key_json(revoked), f"key {revoked.id} of {revoked.organisation} {text}", as_json=as_json)


@keys.command("limit")
def limit_key(  # noqa: PLR0913, PLR0917 (options)
    key: KeyArgument,
    requests: RequestsOption = None,
    size_bytes: BytesOption = None,
    rows: RowsOption = None,
    organisation: AnyOrganisationOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Set or remove quotas of a key.

    Quotas that are not named stay unchanged.
    """
    from ops.registry.names import KEY_ID_LENGTH, key_hash_prefix  # noqa: PLC0415

    named = key_hash_prefix(key)  # never the text: it may be the key itself
    quotas = changes(requests, size_bytes, rows, f"key {named[:KEY_ID_LENGTH]}" if named else "this key")
    limited = run(data_dir, "default", lambda registry: registry.limit(key, quotas, organisation))
    print_made(key_json(limited), f"key {limited.id}: {quota_text(limited.quota)}", as_json=as_json)


@keys.command("rename")
def rename_key(
    key: KeyArgument, name: NameArgument, as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR
) -> None:
    """Change the name of a key."""
    renamed = run(data_dir, "default", lambda registry: registry.describe_key(key, {"name": name}))
    print_made(key_json(renamed), f"key {renamed.id} is called {renamed.name!r} now", as_json=as_json)


@keys.command("note")
def note_key(
    key: KeyArgument, note: NoteArgument, as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR
) -> None:
    """Change the note of a key."""
    noted = run(data_dir, "default", lambda registry: registry.describe_key(key, {"note": note}))
    print_made(key_json(noted), f"key {noted.id}: {noted.note!r}", as_json=as_json)


def key_json(key: Key) -> dict[str, Any]:
    """A key for scripts: its id in place of its hash."""
    return {"id": key.id, **key.model_dump(mode="json", exclude={"sha256"})}
