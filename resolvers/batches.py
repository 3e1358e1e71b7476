"""Bulk mutations: each item converted, written and answered for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from domain.errors import InvalidInput, Refused
from domain.upserts import MAX_BATCH
from resolvers.context import write
from services.outcomes import ItemOutcome
from services.unit_of_work import UseCase


class Convertible(Protocol):
    """An input; `to_command` raises Refused for what cannot be a command at all."""

    def to_command(self) -> Any: ...


async def write_each(
    info: Any,
    use_case: UseCase[tuple[Any, ...], tuple[ItemOutcome, ...]],
    inputs: Sequence[Convertible],
    key: str | None,
) -> list[tuple[int, UUID | None, list[Any]]]:
    """Index, id and user errors of each item. Refused when there are none, or too many."""
    if not 1 <= len(inputs) <= MAX_BATCH:
        message = f"Send 1 to {MAX_BATCH} items at once."
        raise Refused(InvalidInput(message=message, field=("inputs",)))
    answers: dict[int, ItemOutcome] = {}
    commands: dict[int, Any] = {}
    for index, item in enumerate(inputs):
        try:
            commands[index] = item.to_command()
        except Refused as refused:
            answers[index] = ItemOutcome(None, refused.errors)
    if commands:
        outcomes = await write(info, use_case, tuple(commands.values()), key=key)
        answers |= dict(zip(commands, outcomes, strict=True))
    return [(index, answers[index].id, list(answers[index].errors)) for index in range(len(inputs))]
