"""Ports of loopback for servers that benchmarks, storms and tests start."""

from __future__ import annotations

import contextlib
import random
import socket

PORTS = range(18_000, 32_000)
"""Below those that the system gives to outgoing connections, and taken at random: others look at the same time."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with contextlib.ExitStack() as probes:
        found: list[int] = []
        for port in random.sample(PORTS, len(PORTS)):
            probe = probes.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError(f"no {count} free ports from {PORTS[0]} to {PORTS[-1]}")


def free_port() -> int:
    return free_ports(1)[0]
