"""Commands `axonpush tokens …`. ops/registry/tokens.py does the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.registry.options import AllOption, NameOption, OrganisationOption, run
from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, print_json, print_list, print_made

if TYPE_CHECKING:
    from ops.registry.changes import RegistryWriter
    from schemas.registry import Token

tokens = typer.Typer(help="Mint, list and revoke tokens of the Web API.", no_args_is_help=True)


def scope(text: str) -> str:
    """A scope that exists."""
    from schemas.web_tokens import SCOPES  # noqa: PLC0415

    if text not in SCOPES:
        raise typer.BadParameter(f"expected one of {', '.join(SCOPES)}, found {text!r}")
    return text


ScopesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scope", metavar="S", parser=scope, help="What it may do; repeatable. Default: what a pipeline needs."
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Address of the console, which the token tells to tools."),
]
TokenArgument = Annotated[
    str, typer.Argument(metavar="ID|TOKEN", help="Id of the token as `tokens list` shows it, or the token itself.")
]


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(tokens, name="tokens")


@tokens.command("mint")
def mint_token(  # noqa: PLR0913, PLR0917 (options)
    scopes: ScopesOption = None,
    name: NameOption = "",
    url: UrlOption = None,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Create a token and print it, once.

    The token is on stdout. It names address and organisation, so that sentry-cli needs nothing else.
    """
    from ops.registry.tokens import TokenOptions, new_token_text  # noqa: PLC0415
    from schemas.web_tokens import DEFAULT_SCOPES  # noqa: PLC0415

    options = TokenOptions(tuple(dict.fromkeys(scopes or DEFAULT_SCOPES)), name)
    text = new_token_text(_console_url(url, data_dir), organisation)

    async def work(registry: RegistryWriter) -> Token:
        await registry.check_organisation()
        return await registry.tokens.mint(options, text)

    entry = run(data_dir, organisation, work)
    if as_json:
        print_json({"token": text, **token_json(entry)})
        return
    print(text, flush=True)
    print(f"token {entry.id}: keep it now, it is not shown again", file=sys.stderr)
    print(f"scopes: {', '.join(entry.scopes)}", file=sys.stderr)
    if sys.stdout.isatty():  # else the token is in a file, and what is on stderr may be in a log
        print(f"\n# for sentry-cli and bundler plugins\nexport SENTRY_AUTH_TOKEN={text}", file=sys.stderr)


@tokens.command("list")
def list_tokens(
    every: AllOption = False,
    organisation: OrganisationOption = "default",
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List tokens, without their text."""
    tokens = run(data_dir, organisation, lambda registry: registry.tokens.every(of_all=every))
    columns: dict[str, Any] = {
        "token": lambda token: token.id,
        **({"organisation": lambda token: token.organisation} if every else {}),
        "name": lambda token: token.name,
        "scopes": lambda token: " ".join(token.scopes),
        "state": lambda token: "revoked" if token.revoked else "in use",
        "created": lambda token: token.created_at,
    }
    print_list(tokens, token_json, columns, as_json=as_json)


@tokens.command("revoke")
def revoke_token(token: TokenArgument, as_json: JsonOption = False, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Revoke a token; the console refuses it within a second."""

    async def work(registry: RegistryWriter) -> tuple[bool, Token]:
        before = {entry.sha256 for entry in await registry.tokens.every(of_all=True) if entry.revoked}
        revoked = await registry.tokens.revoke(token)
        return revoked.sha256 in before, revoked

    was_revoked, revoked = run(data_dir, "default", work)
    text = "was revoked before: nothing was changed" if was_revoked else "revoked"
    print_made(token_json(revoked), f"token {revoked.id} of {revoked.organisation} {text}", as_json=as_json)


def token_json(token: Token) -> dict[str, Any]:
    """A token for scripts, without its hash."""
    return {"id": token.id, **token.model_dump(mode="json", exclude={"sha256"})}


def _console_url(given: str | None, data_dir: Path) -> str:
    """The option, AXONPUSH_CONSOLE_URL, or the console of the `up` of this folder. Raises BadParameter."""
    from ops.cli.servers import program_address  # noqa: PLC0415

    named = given or program_address(data_dir, "AXONPUSH_CONSOLE_URL", ("console_url",))
    if not named.lower().startswith(("http://", "https://")):
        raise typer.BadParameter(
            "expected --url https://…, the address at which tools reach the console, found none: name it, or set "
            "AXONPUSH_CONSOLE_URL"
        )
    return named.rstrip("/")
