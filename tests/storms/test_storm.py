"""`oms storm`, each fault once: nothing that was acknowledged is lost or there twice, the books stay right."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.storm.faults import FAULTS
from bench.storm.run import run


@pytest.mark.slow
def test_no_fault_loses_doubles_or_breaks_anything() -> None:
    report = asyncio.run(run(minutes=None, faults=(), progress=print))
    assert set(report.figures) | set(report.skipped) == set(FAULTS)
    wrong: dict[str, Any] = {
        name: figures
        for name, figures in report.figures.items()
        if figures["lost"] or figures["duplicated"] or figures["violated"] or not figures["acknowledged"]
    }
    assert wrong == {}
    assert all(figures["found"] == figures["acknowledged"] for figures in report.figures.values())
