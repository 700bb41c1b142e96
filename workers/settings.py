"""Settings of a worker process. Settings that all processes share are in ops/runtime/settings.py."""

from __future__ import annotations

from pydantic import Field

from ops.runtime.environment.size_fields import SizeBytes
from ops.runtime.settings import Settings


class WorkerSettings(Settings):
    """What tunes a worker; environment variables `AXONPUSH_WORKER_*`."""

    worker_fetch_messages: int = Field(500, ge=2, description="maximum messages per fetch from the broker")
    worker_fetch_bytes: SizeBytes = Field(16_000_000, ge=1, description="maximum bytes per fetch from the broker")
    # Fewer, larger inserts make fewer parts. More than 30,000 rows need more memory and save nothing.
    worker_flush_rows: int = Field(30_000, ge=1, description="maximum rows in one insert")
    worker_flush_bytes: SizeBytes = Field(
        16_000_000,
        ge=1,
        description="maximum memory of the rows of one insert; of large errors, half their bodies count",
    )
    # An acknowledged event should be visible in SQL within a second. At low load this is most of that time.
    worker_flush_age_s: float = Field(0.2, gt=0, description="longest wait for a batch to fill")
    # Every insert has the same fixed cost in the engine, so frequent inserts wait longer, up to this.
    worker_flush_age_most_s: float = Field(
        1.0, gt=0, description="longest wait for a batch to fill while inserts are slow or many"
    )
    worker_inserts_in_flight: int = Field(2, ge=1, description="maximum concurrent inserts of each worker")
    worker_insert_timeout_s: float = Field(60, gt=0, description="longest time for one insert")
    # Items of unpacked bodies that wait for the broker's ack.
    worker_publish_messages: int = Field(256, ge=1, description="maximum items from unpack to the broker without ack")
    worker_publish_bytes: SizeBytes = Field(
        32_000_000, ge=1, description="maximum bytes from unpack to the broker without ack"
    )
    # Sending items back through the broker costs a second disk write; needed only when workers run as separate
    # processes.
    worker_handover: bool = Field(True, description="in one process, pass items in memory")
    # Enough for some thousand small bodies an hour, which shows what a sender does wrong.
    worker_refused_share_bytes: SizeBytes = Field(
        4_000_000, ge=0, description="bytes of invalid bodies kept per key, hour and process; 0 = none"
    )
    # Valid bodies of 6 MB take half a second. A message that takes longer than this is hostile or our bug.
    worker_message_cpu_s: float = Field(
        5.0, gt=0, description="maximum CPU seconds per message; then it becomes a dead letter"
    )
    worker_drain_s: float = Field(25, ge=0, description="longest time for a stopping worker to finish its messages")
    worker_metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0 = off")
    # C code that parses untrusted input; turning it off halves OTLP span throughput.
    worker_compiled_readers: bool = Field(
        True, description="use compiled code to parse OTLP spans and search keys, if it was built"
    )
    # A process that nothing was uploaded for starts no other process and looks for new artifacts twice a second.
    worker_symbols: bool = Field(True, description="resolve minified stack traces with uploaded source maps")
    # A source map of 7 MB takes 75 MB once built.
    worker_symbols_memory_bytes: SizeBytes = Field(
        1_000_000_000, ge=64_000_000, description="maximum memory of built source maps in each process of workers"
    )
    worker_symbols_cpu_s: float = Field(
        10.0, gt=0, description="maximum CPU seconds to build one source map; then its stack traces stay minified"
    )
    worker_replay: bool = Field(
        True, description="also process messages of `axonpush replay` and `axonpush dead retry`"
    )
    # Replayed messages share the process with live ones: small fetches delay live ones by milliseconds only.
    worker_replay_messages: int = Field(50, ge=2, description="maximum replayed messages per fetch from the broker")
