"""What bounds the live path; each is a setting, `OMS_LIVE_` and its name in upper case."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The defaults are those of `app.settings`, which says what each means."""

    connections: int = 20_000
    operations_per_socket: int = 20
    message_bytes: int = 65_536
    init_seconds: float = 10.0
    send_seconds: float = 10.0
    ping_seconds: float = 20.0
    heartbeat_seconds: float = 12.0
    queue_events: int = 64
    queue_bytes: int = 1_048_576
    replay_events: int = 200
    replay_connections: int = 4
    poll_seconds: float = 0.25
    drain_seconds: float = 2.0
