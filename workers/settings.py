"""Settings of a worker process, each number with its reason. Settings that all processes share are the runtime's."""

from __future__ import annotations

from pydantic import Field

from ops.runtime.settings import Settings


class WorkerSettings(Settings):
    """What tunes a worker; environment variables `AXONPUSH_WORKER_*`."""

    worker_fetch_messages: int = Field(500, ge=2, description="messages taken from the broker at once")
    worker_fetch_bytes: int = Field(16_000_000, ge=1, description="bytes taken from the broker at once")
    # Fewer, larger inserts make fewer parts; beyond 30,000 rows the gain is gone and the memory is not.
    worker_flush_rows: int = Field(30_000, ge=1, description="rows in one insert")
    worker_flush_bytes: int = Field(16_000_000, ge=1, description="bytes of bodies in one insert, inflated")
    # An acknowledged event is to be found by SQL within a second: this is most of it at low load.
    worker_flush_age_s: float = Field(0.2, gt=0, description="longest a row waits for company")
    # An insert costs the engine the same however small it is: the more of them, the longer each waits, up to this.
    worker_flush_age_most_s: float = Field(1.0, gt=0, description="longest it waits while inserts are slow or many")
    worker_inserts_in_flight: int = Field(2, ge=1, description="inserts running at once, for each worker")
    worker_insert_timeout_s: float = Field(60, gt=0, description="longest a single insert may take")
    # Bodies republished as items, waiting for the broker's acknowledgement.
    worker_publish_messages: int = Field(256, ge=1, description="items in flight from unpack to the broker")
    worker_publish_bytes: int = Field(32_000_000, ge=1, description="bytes in flight from unpack to the broker")
    # What goes through the broker once more is stored there once more: that is for workers in processes of their own.
    worker_handover: bool = Field(True, description="unpack gives items to workers of its process without the broker")
    # Some thousand small bodies an hour: enough to see what a sender does wrong.
    worker_refused_share_bytes: int = Field(
        4_000_000, ge=0, description="invalid bodies kept for each key, an hour and a process; 0 = none"
    )
    # Good bodies of 6 MB take half a second. One message that takes more than this is hostile or a fault of ours.
    worker_message_cpu_s: float = Field(5.0, gt=0, description="processor seconds one message may take, then set aside")
    worker_drain_s: float = Field(25, ge=0, description="how long a stopping worker finishes what it holds")
    worker_metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0 = off")
    # They read what strangers send, in C: whoever does without that pays with half of the speed of OTLP spans.
    worker_compiled_readers: bool = Field(True, description="read OTLP spans, find keys by compiled code, where built")
    worker_dry_run: bool = Field(False, description="normalise and count, but insert nothing")
    worker_replay: bool = Field(True, description="also take what `axonpush replay` and `dead retry` ask for")
    # Replayed messages share the process with live ones: a handful at a time keeps those waiting for milliseconds.
    worker_replay_messages: int = Field(50, ge=2, description="replayed messages taken from the broker at once")
