"""Checks the token behind a request again: the console that sent it may be wrong, or taken over."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from schemas.operator_requests.actions import (
    SCOPES_OF_ACTIONS,
)
from schemas.operator_requests.messages import OperatorRequest
from schemas.registry import Channel, Token
from schemas.web_tokens import expand_scopes

if TYPE_CHECKING:
    from ops.registry.entries import RegistryEntries

_HASH: Final = re.compile(r"[0-9a-f]{64}")


class NotAllowed(Exception):
    """The request is not answered. `status` is that of HTTP."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        super().__init__(detail)


async def asking_token(entries: RegistryEntries, request: OperatorRequest) -> Token:
    """The token that asks. Raises NotAllowed if it is unknown, revoked, of another organisation or without the
    scope.
    """
    scope = SCOPES_OF_ACTIONS.get(request.action)
    if scope is None:
        raise NotAllowed(400, f"action: expected one of {', '.join(SCOPES_OF_ACTIONS)}, found another one")
    is_hash = _HASH.fullmatch(request.token_sha256) is not None
    token = await entries.get(f"token.{request.token_sha256}", Token) if is_hash else None
    if token is None or token.revoked or token.organisation != request.organisation:
        raise NotAllowed(403, "token: expected one of this organisation that is in use, found another one")
    if scope not in expand_scopes(token.scopes):
        raise NotAllowed(403, f"token: expected the scope {scope}, found none")
    return token


async def own_channels(entries: RegistryEntries, organisation: str, asked: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The numbers of the organisation's channels; only those of `asked` if any are. Raises NotAllowed for others."""
    every = await entries.every("channel.>", Channel)
    own = tuple(sorted(channel.id for channel in every if channel.organisation == organisation))
    if foreign := set(asked) - set(own):
        raise NotAllowed(404, f"channel: expected channels of {organisation}, found {min(foreign)}")
    if not own:
        raise NotAllowed(404, f"channel: expected channels of {organisation}, found none")
    return asked or own
