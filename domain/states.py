"""State machines as literal tables, and the one function that moves along them.

A table's rows read like the arrows of the diagram in `docs/states.md`, which is
drawn from them. A request for a transition that has no row is refused; a report
of a fact that has none is recorded as a discrepancy by whoever received it
(`can` tells the two apart beforehand).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from domain.errors import InvalidTransition, Refused

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True, eq=False)
class Machine(Generic[S]):
    """States of one kind of entity: where it may begin, and every (from, to, why) it may take.

    `entity` is the entity's name in the API, which refusals carry.
    """

    entity: str
    states: type[S]
    initial: tuple[S, ...]
    rows: tuple[tuple[S, S, str], ...]
    _targets: Mapping[S, tuple[S, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        targets: dict[S, list[S]] = {state: [] for state in self.states}
        for origin, target, _ in self.rows:
            if target in targets[origin] or target is origin:
                raise ValueError(f"{self.entity}: {origin} to {target} stands twice or leads nowhere")
            targets[origin].append(target)
        object.__setattr__(self, "_targets", {state: tuple(to) for state, to in targets.items()})

    def allowed(self, state: S) -> tuple[S, ...]:
        """The states it may go to from `state`, in the order of the table."""
        return self._targets[state]

    def is_terminal(self, state: S) -> bool:
        return not self._targets[state]

    def can(self, origin: S, target: S) -> bool:
        return target in self._targets[origin]


def transition(machine: Machine[S], origin: S, target: S, *, field: tuple[str, ...] = ()) -> S:
    """`target`, if the table has that arrow; else Refused(InvalidTransition) naming what is allowed."""
    if machine.can(origin, target):
        return target
    allowed = machine.allowed(origin)
    way = f"may become {', '.join(allowed)}" if allowed else "is at its end"
    raise Refused(
        InvalidTransition(
            message=f"{machine.entity} cannot go from {origin} to {target}: {origin} {way}.",
            field=field,
            entity=machine.entity,
            from_status=origin,
            to_status=target,
            allowed=tuple(str(state) for state in allowed),
        )
    )
