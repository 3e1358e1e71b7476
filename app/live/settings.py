"""What can be set of the live path: its bounds."""

from __future__ import annotations

from dataclasses import fields

from pydantic import BaseModel

from app.live.bounds import Bounds
from app.setting import setting

_DEFAULT = Bounds()


class LiveSettings(BaseModel):
    """The part of `app.settings.Settings` that begins with `live_`."""

    live_connections: int = setting(
        _DEFAULT.connections,
        "The most sockets and streams that a process keeps open; beyond it a socket is closed with 1013,"
        " a stream answered 503.",
        write="a whole number of at least 1",
        unit="connections",
        ge=1,
    )
    live_operations_per_socket: int = setting(
        _DEFAULT.operations_per_socket,
        "The most operations of one WebSocket at a time.",
        write="a whole number from 1 to 1000",
        unit="operations",
        ge=1,
        le=1000,
    )
    live_message_bytes: int = setting(
        _DEFAULT.message_bytes,
        "The longest message that a client may send over a WebSocket; a longer one closes it with 1009.",
        write="a number from 1024 to 1048576",
        unit="bytes",
        ge=1024,
        le=1_048_576,
    )
    live_init_seconds: float = setting(
        _DEFAULT.init_seconds,
        "How long a WebSocket may wait before `connection_init`; then it is closed with 4408.",
        write="a number from 0.1 to 60",
        unit="seconds",
        ge=0.1,
        le=60,
    )
    live_send_seconds: float = setting(
        _DEFAULT.send_seconds,
        "How long a reader may take nothing of what it is sent before it is cut off.",
        write="a number from 0.1 to 300",
        unit="seconds",
        ge=0.1,
        le=300,
    )
    live_ping_seconds: float = setting(
        _DEFAULT.ping_seconds,
        "How often a WebSocket is pinged, and how long its pong may take.",
        write="a number from 1 to 600",
        unit="seconds",
        ge=1,
        le=600,
    )
    live_heartbeat_seconds: float = setting(
        _DEFAULT.heartbeat_seconds,
        "How often a quiet stream over HTTP shows that it is alive; less than your proxies wait.",
        write="a number from 0.5 to 600",
        unit="seconds",
        ge=0.5,
        le=600,
    )
    live_queue_events: int = setting(
        _DEFAULT.queue_events,
        "How many events may wait for a slow reader; with more it goes back to reading the log.",
        write="a whole number from 2 to 10000",
        unit="events",
        ge=2,
        le=10_000,
    )
    live_queue_bytes: int = setting(
        _DEFAULT.queue_bytes,
        "How much may wait for a slow reader; with more it goes back to reading the log.",
        write="a number from 1024 to 67108864",
        unit="bytes",
        ge=1024,
        le=67_108_864,
    )
    live_replay_events: int = setting(
        _DEFAULT.replay_events,
        "Events that a reader which is behind reads of the log at a time.",
        write="a whole number from 1 to 1000",
        unit="events",
        ge=1,
        le=1000,
    )
    live_replay_connections: int = setting(
        _DEFAULT.replay_connections,
        "How many database connections readers that are behind share in each process.",
        write="a whole number from 1 to 50",
        unit="connections",
        ge=1,
        le=50,
    )
    live_poll_seconds: float = setting(
        _DEFAULT.poll_seconds,
        "How often the log is looked at although nothing woke the process: how late events are without a"
        " broker.",
        write="a number from 0.01 to 10",
        unit="seconds",
        ge=0.01,
        le=10,
    )
    live_drain_seconds: float = setting(
        _DEFAULT.drain_seconds,
        "Over how long connections are closed after SIGTERM, so that not all clients come back at once.",
        write="a number from 0 to 300",
        unit="seconds",
        ge=0,
        le=300,
    )


def live_bounds(settings: LiveSettings) -> Bounds:
    """The bounds that are set."""
    return Bounds(**{field.name: getattr(settings, f"live_{field.name}") for field in fields(Bounds)})
