"""The registry for one command: a connection to the broker and the bucket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from nats.errors import Error as NatsError
from nats.js.errors import BucketNotFoundError
from nats.js.kv import KeyValue

from ops.cli.servers import open_nats
from ops.registry.changes import RegistryWriter
from ops.runtime.failures import Failed, broker_failure
from ops.runtime.settings import Settings
from schemas.subjects import REGISTRY_BUCKET

if TYPE_CHECKING:
    from nats.aio.client import Client


@contextlib.asynccontextmanager
async def open_bucket(settings: Settings) -> AsyncIterator[tuple[Client, KeyValue]]:
    """A connection and the registry bucket for one command.

    Raises Failed when the broker is away or `axonpush migrate` has not run.
    """
    async with open_nats(settings, "registry") as client:
        try:
            yield client, await client.jetstream().key_value(REGISTRY_BUCKET)
        except BucketNotFoundError as error:
            raise Failed(
                f"expected bucket {REGISTRY_BUCKET} on the broker, found none: run `axonpush migrate` first"
            ) from error
        except (NatsError, TimeoutError) as error:
            raise Failed(
                f"the broker did not complete the request: {broker_failure(error)}. Run the command again."
            ) from error


@contextlib.asynccontextmanager
async def open_registry(settings: Settings, organisation: str) -> AsyncIterator[RegistryWriter]:
    """The registry for one command. Raises Failed like `open_bucket`."""
    async with open_bucket(settings) as (client, bucket):
        yield RegistryWriter(client.jetstream(), bucket, organisation)
