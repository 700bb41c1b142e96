"""Settings of the receiver. Read once from `AXONPUSH_*`, frozen; every number says why it is what it is."""

from __future__ import annotations

from pydantic import Field

from ops.runtime.environment.size_fields import SizeBytes
from ops.runtime.settings import Settings


class ReceiverSettings(Settings):
    """What the receiver adds to the settings of every process."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every interface")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 = any free port")
    counts_wait_otlp_ms: int = Field(
        1000, ge=0, description="longest wait for workers' counts on OTLP requests; 0 = no wait"
    )
    # Sentry SDKs do not read the answer's body, so they get a shorter wait.
    counts_wait_sentry_ms: int = Field(
        250, ge=0, description="longest wait for workers' counts on Sentry requests; 0 = no wait"
    )
    # Clients of native events give up after 30 s; a row is inserted within a second unless ClickHouse is away.
    sync_wait_ms: int = Field(10_000, ge=1, description="longest wait for the row of a native event sent with `sync`")
    # Ten of the largest bodies at once, thousands of usual ones. Beyond it a request is refused before it is read.
    in_flight_bytes: SizeBytes = Field(64_000_000, ge=1, description="maximum bytes of bodies in memory; above: 503")
    body_deadline_s: float = Field(30.0, gt=0, description="longest time for a body to arrive")
    # GPRS, the slowest network of phones, brings 1,000; a body that comes more slowly than that is a trick.
    body_min_bytes_per_s: int = Field(
        500, ge=0, description="slowest allowed body, over any 10 s; slower: 408; 0 = any speed"
    )
    # gzip and deflate cannot do more than 1,032 to one, batches of SDKs inflate 3 to 420 times: this is for brotli and
    # zstd, where 26 bytes can be megabytes. Any body may inflate to 128 KiB.
    max_inflation_ratio: int = Field(
        1_100,
        ge=1,
        description="maximum decompressed bytes per byte sent, for bodies above 128 KiB decompressed; above: 413",
    )
    refused_per_minute: int = Field(
        6_000, ge=0, description="maximum refused requests per minute of one key and address; above: 429; 0 = no limit"
    )
    # A receiver that is killed loses the counts of this time.
    refusals_interval_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="interval for storing counts of refused requests; every twelfth time, also which keys were used",
    )
    header_deadline_s: float = Field(
        60.0, ge=1, description="longest time for request headers, and between two requests of a connection"
    )
    # OTLP exporters give up after 10 s in all; our answer has to come before that.
    publish_timeout_s: float = Field(5.0, gt=0, description="longest wait for the broker's ack")
    drain_timeout_s: float = Field(25.0, gt=0, description="longest time for open requests at shutdown")
    registry_resync_s: float = Field(60.0, gt=0, description="interval for reading the whole registry again")
    unknown_key_ttl_s: float = Field(30.0, ge=0, description="cache unknown keys for this long")
    receiver_metrics_port: int = Field(
        0, ge=0, le=65535, description="port of /metrics; 0 = the same port as for senders"
    )
    trust_forwarded: bool = Field(False, description="use the sender's address in X-Forwarded-For (behind a proxy)")
