"""What a benchmark says: a table for people, and one JSON object for programs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its bar; `at_most` for figures that are better when they are small."""

    name: str
    value: float
    bar: float
    at_most: bool = False

    @property
    def ok(self) -> bool:
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def line(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{self.name:<34}{self.value:>10.2f}   {sign} {self.bar:<8g}{'met' if self.ok else 'MISSED'}"


@dataclass(slots=True)
class Report:
    """A run's targets and figures; `skipped` names what could not be measured here, with the reason."""

    targets: list[Target] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def json(self) -> str:
        return orjson.dumps(
            {
                "targets": [{**asdict(target), "ok": target.ok} for target in self.targets],
                "figures": self.figures,
                "machine": machine(),
                "versions": {**packages(), **self.versions},
                "skipped": self.skipped,
                "commit": commit(),
            }
        ).decode()

    def lines(self) -> list[str]:
        shown = [f"{name:<34}{_figure(value):>10}" for name, value in self.figures.items()]
        shown += ["", *(target.line() for target in self.targets)]
        shown += [f"skipped: {name}: {reason}" for name, reason in self.skipped.items()]
        return shown


def _figure(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in _lines(cpu) if line.startswith("model name")]
    memory = [
        int(line.split()[1]) // 1024 for line in _lines(Path("/proc/meminfo")) if line.startswith("MemTotal")
    ]
    return {
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.processor(),
        "memory_megabytes": memory[0] if memory else None,
        "system": platform.platform(),
        "load_average": os.getloadavg(),
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def packages() -> dict[str, str]:
    names = ("strawberry-graphql", "graphql-core", "asyncpg", "sqlalchemy", "uvicorn", "orjson")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def commit() -> str:
    """The checkout's commit, with `+changes` when it has changes."""
    try:
        changed = "+changes" if _git("status", "--porcelain") else ""
        return _git("rev-parse", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = [shutil.which("git") or "git", *arguments]
    root = Path(__file__).parents[1]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
