"""`oms demo`, `oms import`: what fills the database."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    pass


def load_demo(url: str, size: str, *, only_if_empty: bool) -> None:
    pass
