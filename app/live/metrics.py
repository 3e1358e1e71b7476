"""What `/metrics` says of the live path."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CONNECTIONS = Gauge("oms_live_connections", "Open connections that stream.", ["transport"])
OF_TRANSPORT = {name: CONNECTIONS.labels(name) for name in ("websocket", "sse", "multipart")}
SUBSCRIPTIONS = Gauge("oms_live_subscriptions", "Subscriptions being followed.")
DELIVERIES = Counter("oms_live_deliveries", "Payloads handed to subscriptions at the end of the log.")
REPLAYED = Counter("oms_live_replayed", "Payloads read from the log for subscriptions that were behind.")
OVERFLOWS = Counter("oms_live_queue_overflows", "Times that a slow reader went back to reading the log.")
REFUSED = Counter(
    "oms_live_connections_refused", "Connections refused: too many, or the server was going away."
)
EVICTIONS = Counter("oms_live_evictions", "Readers cut off because they took nothing.")
RELAYED = Counter("oms_relay_events", "Events that this process moved into the log.")
RELAY_LAG = Gauge(
    "oms_relay_lag_seconds",
    "From an event's recording to its place in the log, for the newest; or for how long the oldest has waited.",
)
WAKE_UPS = Gauge(
    "oms_live_wake_ups_connected", "1 while the broker carries wake-ups, 0 while polls stand in."
)
TAIL = Gauge("oms_live_tail_position", "The last position of the log that this process has handed out.")
TAIL_LAG = Gauge("oms_live_tail_lag_seconds", "From an event's recording to this process's reading of it.")
