"""How quickly hostile documents are refused, and how long others wait meanwhile: `python -m bench.hostile URL TOKEN`.

Asks a running server; each document five times, while an honest client asks without a pause.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import httpx2

from bench.documents import HOSTILE

ROUNDS = 5
REFUSED_MILLISECONDS = 50
DELAYED_MILLISECONDS = 100
HONEST = {"query": "{ channels(first: 1) { nodes { id } } }"}


async def timed(client: httpx2.AsyncClient, body: Any) -> tuple[float, int]:
    begun = time.perf_counter()
    response = await client.post("/graphql", json=body)
    return (time.perf_counter() - begun) * 1000, response.status_code


async def measured(url: str, token: str) -> dict[str, dict[str, float]]:
    """By document: the median milliseconds until it was refused, and the longest that another waited."""
    headers = {"authorization": f"Bearer {token}"}
    figures = {}
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as hostile,
        httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as honest,
    ):
        await timed(honest, HONEST)
        for name, document in HOSTILE.items():
            waited: list[float] = []
            over = asyncio.Event()

            async def ask(waited: list[float] = waited, over: asyncio.Event = over) -> None:
                while not over.is_set():
                    waited.append((await timed(honest, HONEST))[0])

            asking = asyncio.create_task(ask())
            taken = [await timed(hostile, {"query": document}) for _ in range(ROUNDS)]
            over.set()
            await asking
            figures[name] = {
                "refused_ms": round(statistics.median(each for each, _ in taken), 1),
                "delayed_ms": round(max(waited), 1),
                "status": taken[0][1],
            }
    return figures


def main(url: str, token: str) -> None:
    figures = asyncio.run(measured(url, token))
    for name, figure in figures.items():
        fits = figure["refused_ms"] < REFUSED_MILLISECONDS and figure["delayed_ms"] < DELAYED_MILLISECONDS
        sys.stdout.write(f"{'ok ' if fits else 'NO '} {name:<28}{json.dumps(figure)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
