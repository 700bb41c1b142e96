"""Mints, lists and revokes tokens of the Web API in the registry bucket."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ops.runtime.failures import Conflict, Failed
from schemas.registry import Token, key_hash
from schemas.web_tokens import DEFAULT_SCOPES, SECRET_BYTES, token_text

if TYPE_CHECKING:
    from ops.registry.entries import RegistryEntries

ID_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """What a new token may do, and a name for display."""

    scopes: tuple[str, ...] = DEFAULT_SCOPES
    name: str = ""


def new_token_text(url: str, organisation: str) -> str:
    """A new token. Its text exists only here and where the caller prints it."""
    return token_text(url, organisation, round(time.time(), 3), secrets.token_bytes(SECRET_BYTES))


class TokenWriter:
    """The tokens of one organisation. Every method raises Failed or Conflict with what to do."""

    def __init__(self, entries: RegistryEntries, organisation: str, now: Callable[[], str]) -> None:
        self._entries = entries
        self._organisation = organisation
        self._now = now

    async def mint(self, options: TokenOptions, text: str) -> Token:
        """Stores the hash of a token."""
        token = Token(
            sha256=key_hash(text),
            organisation=self._organisation,
            scopes=options.scopes,
            name=options.name,
            created_at=self._now(),
        )
        if not await self._entries.create(token.kv_key, token):
            raise Conflict(f"token {token.id} is registered already")
        return token

    async def find(self, text: str) -> Token | None:
        """The entry of a token, given its text."""
        return await self._entries.get(f"token.{key_hash(text)}", Token)

    async def widen(self, text: str, scopes: tuple[str, ...]) -> None:
        """Gives a token the scopes that it has not."""

        def fields(stored: Token) -> dict[str, tuple[str, ...]]:
            return {"scopes": (*stored.scopes, *(scope for scope in scopes if scope not in stored.scopes))}

        if (token := await self.find(text)) is not None:
            await self._entries.change_by(token, fields)

    async def every(self, *, of_all: bool = False) -> list[Token]:
        """The tokens of the organisation, or of all, oldest first, revoked ones too."""
        tokens = await self._entries.every("token.>", Token)
        own = [token for token in tokens if of_all or token.organisation == self._organisation]
        return sorted(own, key=lambda token: (token.created_at, token.sha256))

    async def revoke(self, text: str) -> Token:
        """Revokes a token of any organisation, given its id or itself. Revoking it again is no error."""
        prefix = text.strip().lower()
        is_id = len(prefix) == ID_LENGTH and all(digit in "0123456789abcdef" for digit in prefix)
        wanted = prefix if is_id else key_hash(text.strip())
        matching = [token for token in await self.every(of_all=True) if token.sha256.startswith(wanted)]
        if len(matching) != 1:
            # The text may be a mistyped token, which must not appear on a screen or in a log.
            raise Failed(
                f"expected the {ID_LENGTH} digits of a token's id, or the token itself, found no such token: "
                "`axonpush tokens list --all` shows the ids"
            )
        return await self._entries.change(matching[0], {"revoked": True})
