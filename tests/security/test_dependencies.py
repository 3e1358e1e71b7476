"""Floors and ceilings of dependencies that exist for a reason: they cannot come back unnoticed."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED = {
    package["name"]: Version(package["version"])
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    if "version" in package
}
DECLARED = {
    requirement.name: requirement
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["redis"]]
    if (requirement := Requirement(text)).specifier
}

VULNERABLE = {
    "graphql-core": "3.3.1",  # leaks in subscriptions and has known advisories
    "strawberry-graphql": "0.340",
    "starlette": "1.9",
    "joserfc": "1.2",
}
"""The newest release of each that was left behind: below these floors nothing was tried together."""

BROKEN = {
    "redis": "8.0",  # broadcaster delivers nothing with it
    "uvicorn": "0.55",  # app/live/frames.py writes to its transport: exactly one release is known to fit
    "uvicorn ": "0.53",
}

REFUSED = {"schema", "python-multipart", "pyjwt", "python-jose"}
"""Never depended on: a name of ours, uploads, and libraries of tokens beside the one that is tested."""


@pytest.mark.parametrize("name", VULNERABLE)
def test_no_vulnerable_release_is_allowed_locked_or_installed(name: str) -> None:
    last = Version(VULNERABLE[name])
    assert not DECLARED[name].specifier.contains(last), f"raise the floor of {name} in pyproject.toml"
    assert LOCKED[name] > last
    assert Version(importlib.metadata.version(name)) > last


@pytest.mark.parametrize("name", BROKEN)
def test_no_release_that_does_not_work_is_allowed(name: str) -> None:
    assert not DECLARED[name.strip()].specifier.contains(BROKEN[name])


def test_nothing_that_was_refused_is_depended_on() -> None:
    assert REFUSED.isdisjoint(DECLARED)
    assert {"python-multipart", "pyjwt", "python-jose"}.isdisjoint(LOCKED)


def test_everything_that_is_installed_is_locked_by_hash() -> None:
    lock = (ROOT / "uv.lock").read_text()
    for part in lock.split("[[package]]")[1:]:
        if "source = { registry" in part and "sdist" in part + "wheels":
            assert re.search(r'hash = "sha256:[0-9a-f]{64}"', part), part.splitlines()[1]
