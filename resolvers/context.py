"""What every resolver is given, and the one way it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

import orjson

from domain import text
from domain.access import Principal
from services.audit import Call
from services.unit_of_work import Key, UnitOfWork, UseCase

Command = TypeVar("Command")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Context:
    """One operation's: who calls, and what it writes through."""

    principal: Principal
    unit_of_work: UnitOfWork
    request_id: str
    address: str | None = None
    """Where the client is, for the audit."""
    sign_guest_token: Callable[[UUID, UUID, datetime, datetime], str] | None = None
    """Of an order, a token's id, and when it begins and ends; None where portal links are off."""


class Info(Protocol):
    """What the executor hands a mutation: the context, and the root field as it was sent."""

    @property
    def context(self) -> Context: ...

    @property
    def field_name(self) -> str: ...

    @property
    def arguments(self) -> dict[str, Any]: ...


async def write(
    info: Any,
    use_case: UseCase[Command, Outcome],
    command: Command,
    *,
    key: str | None = None,
    call: tuple[str, Mapping[str, Any]] | None = None,
) -> Outcome:
    """Run a use case in one transaction as the caller, once per idempotency key.

    The key's fingerprint is the root field and its input as sent, the key itself
    left out: a repeat must be the same call, whatever it selects. An item of a batch that
    is a call of its own names that `call`. Refused with InvalidInput for a key that is
    empty, too long or not printable.
    """
    if key is not None:
        text.require(key, text.MAX_IDEMPOTENCY_KEY, field=("idempotencyKey",))
    field, arguments = call or (info.field_name, info.arguments)
    sent = {name: value for name, value in arguments.items() if name != "idempotencyKey"}
    fingerprint = orjson.dumps(sent, default=str, option=orjson.OPT_SORT_KEYS)
    context: Context = info.context
    # The executor runs a mutation in a task that outlives whoever waits for it.
    return await context.unit_of_work.run_to_the_end(
        use_case,
        command,
        actor=context.principal,
        key=Key.of(key, field, fingerprint),
        call=Call(field, context.address, context.request_id or None),
    )
