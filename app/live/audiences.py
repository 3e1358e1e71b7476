"""Who is told of which events: subscribers that follow the same and are shown the same, found by columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from app.live import metrics
from app.live.rendering import Key, Payload, Rendering
from services.feed import Selection

if TYPE_CHECKING:
    from app.live.subscribers import Subscriber


Item = tuple[int, Payload, Key]
"""An event's position, what is shown of it, and what it is about where only the newest of that is wanted."""


class Audience:
    """Subscribers with one selection and one rendering: what one of them is sent, all are."""

    __slots__ = (
        "_first",
        "_rest",
        "coalesces",
        "latest_by",
        "members",
        "rendering",
        "selection",
        "snapshots",
    )

    def __init__(
        self,
        rendering: Rendering,
        selection: Selection,
        snapshots: str | None,
        latest_by: tuple[str, ...] = (),
    ) -> None:
        criteria = selection.given()
        self.rendering = rendering
        self.selection = selection
        self.snapshots = snapshots
        self.latest_by = latest_by
        self.coalesces = snapshots is not None or bool(latest_by)
        self.members: set[Subscriber] = set()
        self._first = criteria[0] if criteria else None
        self._rest = tuple(criteria[1:])

    @property
    def name(self) -> Any:
        """What makes it the same audience."""
        return self.rendering.share_key, self.selection, self.snapshots, self.latest_by

    @property
    def places(self) -> list[tuple[str, Any]]:
        """The columns' values by which it is found: those of its most selective criterion."""
        if self._first is None:
            return [("", None)]
        column, values = self._first
        return [(column, value) for value in values]

    def live_members(self) -> list[Subscriber]:
        """Those who are told; the others read the log."""
        return [member for member in self.members if member.live]

    def wants(self, row: asyncpg.Record) -> bool:
        """Whether an event that was found by the first criterion meets the others too."""
        return all(row[column] in values for column, values in self._rest)

    def key_of(self, row: asyncpg.Record) -> Key:
        """What is rendered of an event for this audience."""
        return row["position"] if self.snapshots is None else row[self.snapshots]

    def keys_of(self, rows: Iterable[asyncpg.Record]) -> dict[Key, asyncpg.Record]:
        """What is rendered of these events, each by its last event, in the order of those."""
        keys: dict[Key, asyncpg.Record] = {}
        for row in rows:
            self.add(keys, row)
        return keys

    def add(self, keys: dict[Key, asyncpg.Record], row: asyncpg.Record) -> None:
        """One more event for `keys_of`."""
        key = self.key_of(row)
        if self.snapshots is not None:
            keys.pop(key, None)  # a snapshot takes the place of its last event
        keys[key] = row

    def items(self, keys: Mapping[Key, asyncpg.Record], rendered: Mapping[Key, Payload]) -> list[Item]:
        """What is shown of these, in the order of their positions; what may not be seen is absent."""
        if not self.coalesces:
            return [(row["position"], rendered[key], None) for key, row in keys.items() if key in rendered]
        return self.newest(
            [
                (row["position"], rendered[key], self._about(key, row))
                for key, row in keys.items()
                if key in rendered
            ]
        )

    def newest(self, items: Sequence[Item]) -> list[Item]:
        """The last item about each thing. After rendering: the last that may be *seen* is wanted."""
        last = {item[2]: item[0] for item in items}
        return [item for item in items if last[item[2]] == item[0]]

    def _about(self, key: Key, row: asyncpg.Record) -> Key:
        return next((row[name] for name in self.latest_by if row[name] is not None), key)


class Audiences:
    """Every audience that has a member, by the values of the columns that it is found by."""

    def __init__(self) -> None:
        self._by_name: dict[Any, Audience] = {}
        self._by_place: dict[str, dict[Any, list[Audience]]] = {}
        self._renderings: dict[Any, Rendering] = {}
        self.subscribers: set[Subscriber] = set()

    def __len__(self) -> int:
        return len(self._by_name)

    def of(
        self,
        rendering: Rendering,
        selection: Selection,
        snapshots: str | None,
        latest_by: tuple[str, ...] = (),
    ) -> Audience:
        """The audience of everybody who asks for this; it is kept while it has a member."""
        rendering = self._renderings.get(rendering.share_key, rendering)
        made = Audience(rendering, selection, snapshots, latest_by)
        return self._by_name.get(made.name, made)

    def join(self, subscriber: Subscriber) -> None:
        audience = self._by_name.setdefault(subscriber.audience.name, subscriber.audience)
        subscriber.audience = audience
        self.subscribers.add(subscriber)
        metrics.SUBSCRIPTIONS.inc()
        audience.members.add(subscriber)
        if len(audience.members) > 1:
            return
        rendering = self._renderings.setdefault(audience.rendering.share_key, audience.rendering)
        audience.rendering = rendering
        rendering.audiences += 1
        for column, value in audience.places:
            self._by_place.setdefault(column, {}).setdefault(value, []).append(audience)

    def leave(self, subscriber: Subscriber) -> None:
        audience = subscriber.audience
        self.subscribers.discard(subscriber)
        metrics.SUBSCRIPTIONS.dec()
        audience.members.discard(subscriber)
        if audience.members or self._by_name.pop(audience.name, None) is None:
            return
        audience.rendering.audiences -= 1
        if not audience.rendering.audiences:
            del self._renderings[audience.rendering.share_key]
        for column, value in audience.places:
            found = self._by_place[column]
            found[value].remove(audience)
            if not found[value]:
                del found[value]
            if not found:
                del self._by_place[column]

    def told(self, row: asyncpg.Record) -> Iterator[Audience]:
        """The audiences that an event is for."""
        for column, by_value in self._by_place.items():
            for audience in by_value.get(row[column] if column else None, ()):
                if audience.wants(row):
                    yield audience
