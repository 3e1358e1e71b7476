"""Background work: jobs made of events, and what happens because time passes.

Runs inside `oms serve` and `oms up`, or alone under `oms worker`; any number at once.
Whatever is killed at any line, the database says what is still to be done.
"""

from app.workers.process import run_worker
from app.workers.workers import Workers

__all__ = ["Workers", "run_worker"]
