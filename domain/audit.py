"""What the audit says of a call."""

from __future__ import annotations

from enum import StrEnum


class AuditOutcome(StrEnum):
    """DONE and committed, or REFUSED with nothing changed."""

    DONE = "DONE"
    REFUSED = "REFUSED"
