"""What processes have taken of a core, in seconds, as /proc tells it."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def of(pid: int) -> float:
    """A process's own time, all threads, in user mode and in the kernel."""
    return _own(_fields(pid))


def of_children(pid: int) -> float:
    """The time of a process's children: those that live, and those that have ended."""
    ended = sum(int(ticks) for ticks in _fields(pid)[13:15]) / _TICKS
    return ended + sum(_own(found) for found in _processes() if int(found[1]) == pid)


def of_all() -> float:
    """The time of everything that ran on this machine, since it started."""
    busy = [int(ticks) for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(busy) - busy[3] - busy[4]) / _TICKS  # all but idle and waiting for a disk


def _processes() -> list[list[str]]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.append(_fields(int(name)))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _fields(pid: int) -> list[str]:
    """The fields of /proc/…/stat from the third, the state, on: the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _own(fields: list[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / _TICKS
