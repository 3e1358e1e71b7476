"""What `/metrics` says of the live path."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CONNECTIONS = Gauge("oms_live_connections", "Open connections that stream.", ["transport"])
SUBSCRIPTIONS = Gauge("oms_live_subscriptions", "Subscriptions being followed.")
DELIVERIES = Counter("oms_live_deliveries", "Payloads handed to subscriptions at the end of the log.")
OVERFLOWS = Counter("oms_live_queue_overflows", "Times that a slow reader went back to reading the log.")
EVICTIONS = Counter("oms_live_evictions", "Readers cut off because they took nothing.")
RELAYED = Counter("oms_relay_events", "Events that this process moved into the log.")
TAIL = Gauge("oms_live_tail_position", "The last position of the log that this process has handed out.")
TAIL_LAG = Gauge("oms_live_tail_lag_seconds", "From an event's recording to this process's reading of it.")
