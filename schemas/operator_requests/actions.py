"""The actions, the scope that each needs, and what each is given."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from schemas.registry import ChannelId, ProjectSlug, Slug

RETRY_DEAD_LETTERS: Final = "dead_letters.retry"
DROP_DEAD_LETTERS: Final = "dead_letters.drop"
CREATE_KEY: Final = "keys.create"
REVOKE_KEY: Final = "keys.revoke"
CREATE_CHANNEL: Final = "channels.create"
RENAME_CHANNEL: Final = "channels.rename"
DELIVERY_WRITE: Final = "delivery:write"
PROJECT_ADMIN: Final = "project:admin"
# The scope that the token of a request needs. Console and janitor both check it.
SCOPES_OF_ACTIONS: Final = {
    RETRY_DEAD_LETTERS: DELIVERY_WRITE,
    DROP_DEAD_LETTERS: DELIVERY_WRITE,
    CREATE_KEY: PROJECT_ADMIN,
    REVOKE_KEY: PROJECT_ADMIN,
    CREATE_CHANNEL: PROJECT_ADMIN,
    RENAME_CHANNEL: PROJECT_ADMIN,
}
# Dead letters of one request; more are left for the next one, which the answer says.
MAX_DEAD_LETTERS: Final = 500

_Text = Annotated[str, Field(max_length=200)]


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChosenDeadLetters(_Given):
    """Dead letters of an organisation: those with these numbers, or those that all other fields fit; empty fields fit
    all. They were received from `since` on and before `before`, so that what came after a person looked is left out.
    """

    numbers: tuple[Annotated[int, Field(ge=1, lt=2**63)], ...] = Field((), max_length=MAX_DEAD_LETTERS)
    channels: tuple[ChannelId, ...] = Field((), max_length=1_000)
    reasons: tuple[_Text, ...] = Field((), max_length=50)
    stages: tuple[_Text, ...] = Field((), max_length=50)
    item_types: tuple[_Text, ...] = Field((), max_length=50)
    since: AwareDatetime | None = None
    before: AwareDatetime | None = None


class NewKey(_Given):
    """A key that the console has made. Only its hash travels, so the text is in no message and no log."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    kind: Literal["secret", "public"]
    environment: Slug
    # None: every channel of the organisation.
    channel: ChannelId | None = None
    name: _Text = ""
    is_new_environment: bool = False


class KeyToRevoke(_Given):
    """By the first 16 digits of its hash."""

    key_id: str = Field(pattern=r"^[0-9a-f]{16}$")


class NewChannel(_Given):
    """A channel; without a slug one is made from the name."""

    name: _Text = ""
    slug: ProjectSlug = ""


class ChannelName(_Given):
    """Another name for a channel, and another slug if one is given."""

    channel: ChannelId
    name: _Text
    slug: ProjectSlug = ""


def problem_of(error: ValidationError) -> str:
    """What is wrong with a field, without its value, which may be a secret."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(map(str, first["loc"])) or "body"
    return f"{name}: {first['msg']}"
