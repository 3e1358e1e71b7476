"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """Below the range that the system gives to outgoing connections; any, because other tests look at the same time."""
    for port in random.sample(range(18_000, 32_000), 50):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")
