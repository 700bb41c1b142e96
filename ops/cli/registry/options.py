"""Options that commands on the registry share, and how such a command opens it."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from schemas.identifiers import MAX_CHANNEL_ID, PROJECT_SLUG_EXPECTED, is_project_slug, is_slug

if TYPE_CHECKING:
    from ops.registry.changes import RegistryWriter

Result = TypeVar("Result")

MAX_TEXT = 200
ORIGIN = re.compile(r"\*|(https?://)?(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def slug(text: str) -> str:
    """A valid name of an organisation or environment."""
    if not is_slug(text):
        raise typer.BadParameter(f"expected 1 to 64 of a-z 0-9 . _ - and a letter or digit first, found {text!r}")
    return text


def project_slug(text: str) -> str:
    """A valid name of a channel in addresses of the Web API."""
    if not is_project_slug(text):
        raise typer.BadParameter(f"expected {PROJECT_SLUG_EXPECTED}, found {text!r}")
    return text


def origin(text: str) -> str:
    """A valid allowed origin, without a trailing slash. A path is refused: an origin has none."""
    text = text.rstrip("/").lower()
    if not ORIGIN.fullmatch(text):
        raise typer.BadParameter(
            f"expected an origin like https://example.com or https://*.example.com, found {text!r}"
        )
    return text


def one_line(text: str) -> str:
    """A text for display: one line of at most 200 characters."""
    text = text.strip()
    if len(text) > MAX_TEXT or not text.isprintable():
        raise typer.BadParameter(f"expected one line of at most {MAX_TEXT} characters, found something else")
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
NameOption = Annotated[str, typer.Option("--name", metavar="TEXT", parser=one_line, help="A name for display.")]
SlugOption = Annotated[
    str | None,
    typer.Option(
        "--slug", metavar="SLUG", parser=project_slug, help="Its name for sentry-cli and the Web API; default: by name."
    ),
]
NewSlugOption = Annotated[
    str | None, typer.Option("--slug", metavar="SLUG", parser=project_slug, help="Also change its slug.")
]
NoteOption = Annotated[
    str, typer.Option("--note", metavar="TEXT", parser=one_line, help="A note, such as who owns it.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", parser=one_line, help="The new name.")]
NoteArgument = Annotated[str, typer.Argument(metavar="TEXT", parser=one_line, help="The new note; '' removes it.")]
ChannelArgument = Annotated[int, typer.Argument(metavar="N", min=1, max=MAX_CHANNEL_ID, help="Number of the channel.")]
AnyOrganisationOption = Annotated[
    str | None,
    typer.Option("--organisation", metavar="O", parser=slug, help="Fail unless it belongs to this organisation."),
]
AllOption = Annotated[bool, typer.Option("--all", help="Of all organisations.")]
ChannelsOption = Annotated[
    list[int] | None,
    typer.Option("--channel", metavar="N", min=1, max=MAX_CHANNEL_ID, help="Allow only this channel; repeatable."),
]
PublicOption = Annotated[bool, typer.Option("--public", help="A public token (pt_) for browsers and apps.")]
NewEnvironmentOption = Annotated[
    bool,
    typer.Option("--new-environment", help="Create the environment even if its name is nearly that of another one."),
]
OverrideOption = Annotated[
    bool, typer.Option("--allow-environment-override", help="Senders may choose another environment.")
]
OrganisationArgument = Annotated[str, typer.Argument(metavar="O", parser=slug, help="Its name, e.g. default.")]
OriginsOption = Annotated[
    list[str] | None,
    typer.Option("--origin", metavar="URL", parser=origin, help="Web origin that may use a --public key; repeatable."),
]
KeyArgument = Annotated[
    str, typer.Argument(metavar="ID|KEY|DSN", help="Id of the key as `keys list` shows it, the key itself, or its DSN.")
]


async def in_registry(data_dir: Path, organisation: str, work: Callable[[RegistryWriter], Awaitable[Result]]) -> Result:
    """Runs `work` on the registry of one organisation."""
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415
    from ops.registry.connection import open_registry  # noqa: PLC0415

    settings = find_settings(data_dir)
    tell_system(settings, data_dir)
    async with open_registry(settings, organisation) as registry:
        return await work(registry)


async def ensure_environment(registry: RegistryWriter, environment: str) -> None:
    """Creates the environment if it is missing, and says so with those that there were: the name may be a slip."""
    from ops.registry.names import existing  # noqa: PLC0415

    if await registry.ensure_environment(environment):
        others = [entry.slug for entry in await registry.environments() if entry.slug != environment]
        before = f"; before, {existing('environments', others, environment)}"
        print(f"environment {environment} is new and was created{before}", file=sys.stderr)


async def check_environment(registry: RegistryWriter, environment: str, *, is_new: bool) -> None:
    """A slip would make a second environment, which nothing removes, with a live key. Raises Failed."""
    from ops.registry.names import existing, near_miss  # noqa: PLC0415
    from ops.runtime.failures import Failed  # noqa: PLC0415

    if is_new:
        return
    known = [entry.slug for entry in await registry.environments()]
    if meant := near_miss(environment, known):
        raise Failed(
            f"expected an environment that exists, or a name that is no slip of one, found {environment}; "
            f"{existing('environments', [name for name in known if name != meant] + [meant], meant)}. If a new one is "
            "meant: add --new-environment. Nothing was changed."
        )


def run(data_dir: Path, organisation: str, work: Callable[[RegistryWriter], Awaitable[Result]]) -> Result:
    """The same for a command."""
    return asyncio.run(in_registry(data_dir, organisation, work))


def after_check(work: Callable[[RegistryWriter], Awaitable[Result]]) -> Callable[[RegistryWriter], Awaitable[Result]]:
    """`work`, after a check that the organisation exists."""

    async def checked(registry: RegistryWriter) -> Result:
        await registry.check_organisation()
        return await work(registry)

    return checked
