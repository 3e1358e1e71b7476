"""An independent answer: graphql-core executes the operation over rows in memory."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
from graphql import (
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    execute_sync,
    get_named_type,
    parse,
)

from domain.access import Principal
from domain.money import EXPONENTS
from schema.plan.catalog import Catalog
from schema.plan.reading import (
    ReadConnection,
    ReadEmbedded,
    ReadExpression,
    ReadId,
    ReadMany,
    ReadMoney,
    ReadNode,
    ReadOne,
    ReadOneOf,
    ReadRootExpression,
    ReadRootMany,
    ReadRootOne,
)
from tests.reads.facts import Entity, Facts
from tests.reads.sight import Sight


@dataclass(slots=True)
class Page:
    """A page's entities in the order shown, each with its cursor."""

    entities: list[Entity]
    cursors: list[str]
    has_next: bool
    has_previous: bool
    total: int


class Oracle:
    """Answers operations for one caller."""

    def __init__(self, schema: GraphQLSchema, catalog: Catalog, facts: Facts, caller: Principal) -> None:
        self._schema = schema
        self._catalog = catalog
        self._facts = facts
        self._sight = Sight(facts.tables, caller)

    def answer(
        self, text: str, variables: dict[str, Any], given: Mapping[str, Any] | None = None
    ) -> tuple[bytes, list[str]]:
        """The data as JSON, and the response names of the root fields that failed: they are null.

        `given` is what the root fields of a mutation or a subscription are, in the place of stored rows' fields.
        """
        document = parse(text)  # what is not valid, the planner refuses
        result = execute_sync(
            self._schema,
            document,
            root_value=given,
            variable_values=variables,
            field_resolver=self._resolve,
            type_resolver=lambda value, *_: value.type,
        )
        failed = sorted({str(error.path[0]) for error in result.errors or () if error.path})
        if result.errors and not failed:
            raise AssertionError((text, result.errors))
        if failed:
            return b"", failed
        return orjson.dumps(result.data), []

    # Resolving.

    def _resolve(self, source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        name = info.field_name
        if isinstance(source, Entity):
            return self._field(source, name, arguments)
        if isinstance(source, Page):
            return self._of_page(source, name)
        if isinstance(source, dict):
            return self._seen(source[name])
        return self._root(name, arguments)

    def _seen(self, value: Any) -> Any:
        """Entities in a payload or an event are null for whoever may not see them; on a page there are none such."""
        if isinstance(value, list):
            return [self._seen(item) for item in value]
        return None if isinstance(value, Entity) and not self._sees(value) else value

    def _of_page(self, page: Page, name: str) -> Any:
        match name:
            case "nodes":
                return page.entities
            case "edges":
                return [
                    {"node": entity, "cursor": cursor}
                    for entity, cursor in zip(page.entities, page.cursors, strict=True)
                ]
            case "totalCount":
                return page.total
        return {
            "hasNextPage": page.has_next,
            "hasPreviousPage": page.has_previous,
            "startCursor": page.cursors[0] if page.cursors else None,
            "endCursor": page.cursors[-1] if page.cursors else None,
        }

    def _field(self, entity: Entity, name: str, arguments: dict[str, Any]) -> Any:  # noqa: PLR0911 - one a kind
        type_, planned = self._catalog.types[entity.python]
        definition = type_.fields[name]
        read = self._catalog.read(definition)
        match read:
            case ReadId():
                return f"{planned.node}_{entity.key}"
            case ReadExpression():
                return leaf(definition.type, entity.values[name])
            case ReadMoney():
                return money(entity.values[f"{name}.amount"], entity.values[f"{name}.currency"])
            case ReadEmbedded():
                text = entity.values[name]
                return embedded(definition.type, None if text is None else json.loads(text))
            case ReadOneOf():
                target = read.targets.get(entity.values[f"{name}.kind"])
                found = target and self._facts.entities[target].get(entity.values[f"{name}.id"])
                return found if found and self._sees(found, read.visible_with_parent) else None
        related = self._facts.related[entity.type, name].get(entity.key, [])
        assert isinstance(read, ReadOne | ReadMany | ReadConnection)
        targets = [self._facts.entities[read.target][key] for key in related]
        targets = [target for target in targets if self._sees(target, read.visible_with_parent)]
        if isinstance(read, ReadOne):
            return targets[0] if targets else None
        if isinstance(read, ReadMany):
            return targets
        return self._page(f"{entity.type}.{name}", definition, read, targets, arguments)

    def _sees(self, entity: Entity, with_parent: bool = False) -> bool:
        return self._sight.sees(entity.table, entity.row, with_parent=with_parent)

    def _root(self, name: str, arguments: dict[str, Any]) -> Any:
        query = self._catalog.schema.query_type
        assert query is not None
        definition = query.fields[name]
        read = self._catalog.read(definition)
        match read:
            case ReadNode(many=False):
                return self._node(arguments["id"])
            case ReadNode():
                return [self._node(id) for id in arguments["ids"]]
            case ReadRootOne():
                return self._one(read.target, arguments)
            case ReadRootExpression():
                assert name == "eventHead"
                return self._facts.head
            case ReadRootMany():
                return self._many(name, arguments)
            case ReadConnection():
                every = list(self._facts.entities[read.target].values())
                seen = [entity for entity in every if self._sees(entity)]
                return self._page(f"Query.{name}", definition, read, seen, arguments)
        raise TypeError(name)

    def _one(self, target: str, arguments: dict[str, Any]) -> Entity | None:
        given = {name: value for name, value in arguments.items() if value is not None}
        if "id" in given:
            return self._node(given["id"])
        kind = re.sub("(?<=[a-z])[A-Z]", lambda found: "_" + found[0], target).upper()
        found = []
        for entity in self._facts.entities[target].values():
            row = entity.row
            fits = [
                self._called(kind, entity.key, value) if name == "externalId"
                else str(row["channel_id"]) == value[4:] if name == "channelId"
                else row[name] == value
                for name, value in given.items()
            ]  # fmt: skip
            if all(fits) and self._sees(entity):
                found.append(entity)
        assert len(found) < 2, given
        return found[0] if found else None

    def _called(self, kind: str, key: Any, wanted: dict[str, Any]) -> bool:
        channel = wanted.get("channelId")
        return any(
            row["entity_kind"] == kind
            and row["entity_id"] == key
            and (row["system"], row["external_id"]) == (wanted["system"], wanted["id"])
            and (channel is None or str(row["channel_id"]) == channel[4:])
            for row in self._facts.tables["external_id"]
        )

    def _many(self, name: str, arguments: dict[str, Any]) -> list[Entity]:
        if name == "availability":
            channel = arguments["channel"].partition("_")[2]
            rows = [
                entity
                for entity in self._facts.entities["Availability"].values()
                if entity.row["sku"] in arguments["skus"] and str(entity.row["channel_id"]) == channel
            ]
            return sorted((row for row in rows if self._sees(row)), key=lambda row: row.row["sku"])
        assert name == "events"
        types = arguments.get("types")
        events = [self._facts.entities["OrderEvent"][key] for key in self._facts.logged]
        after = arguments.get("after")
        if after is not None:
            place = [event.values["cursor"] for event in events].index(after)
            events = events[place + 1 :]
        shown = [
            event for event in events if self._sees(event) and (types is None or event.row["type"] in types)
        ]
        first = arguments.get("first")
        return shown[: 20 if first is None else min(100, max(0, first))]

    def _node(self, id: str) -> Entity | None:
        prefix, _, key = id.partition("_")
        entities = self._facts.entities[self._catalog.nodes[prefix]]
        found = next((entity for known, entity in entities.items() if str(known) == key), None)
        return found if found is not None and self._sees(found) else None

    def _page(
        self,
        place: str,
        definition: Any,
        read: ReadConnection,
        entities: list[Entity],
        arguments: dict[str, Any],
    ) -> Page:
        for name, value in (arguments.get("filter") or {}).items():
            if value is None:
                continue
            filter_type = get_named_type(definition.args["filter"].type).name
            offered = self._facts.choices[filter_type, name]
            keys = next(choice.keys for choice in offered if _same(choice.value, value))
            entities = [entity for entity in entities if entity.key in keys]
        sort = arguments.get("sort") or read.sort.default
        descending = read.sort.descending
        if arguments.get("direction"):
            descending = arguments["direction"] == "DESC"
        ranks = self._facts.ranks[place, read.target, sort]
        entities = sorted(entities, key=lambda entity: ranks[entity.key][0], reverse=descending)
        total = min(len(entities), 10_000)
        cursors = {entity.key: cursor(sort, ranks[entity.key][1]) for entity in entities}
        after, before = arguments.get("after"), arguments.get("before")
        if after is not None:
            place_of = ranks[_key_of(after, ranks)][0]
            entities = [
                entity for entity in entities if (ranks[entity.key][0] > place_of) is not descending
                and ranks[entity.key][0] != place_of
            ]  # fmt: skip
        if before is not None:
            place_of = ranks[_key_of(before, ranks)][0]
            entities = [
                entity for entity in entities if (ranks[entity.key][0] < place_of) is not descending
                and ranks[entity.key][0] != place_of
            ]  # fmt: skip
        last = arguments.get("last")
        first = arguments.get("first")
        size = last if last is not None else 20 if first is None else first
        more = len(entities) > size
        shown = (entities[-size:] if size else []) if last is not None else entities[:size]
        return Page(
            shown,
            [cursors[entity.key] for entity in shown],
            has_next=before is not None if last is not None else more,
            has_previous=more if last is not None else after is not None,
            total=total,
        )


def _same(value: Any, sent: Any) -> bool:
    return bool(value == sent)


def _key_of(text: str, ranks: dict[Any, Any]) -> Any:
    decoded = orjson.loads(base64.urlsafe_b64decode(text))
    return next(key for key in ranks if str(key) == decoded[-1])


def cursor(sort: str, values: list[Any]) -> str:
    shown = [instant(value) if isinstance(value, dt.datetime) else str(value) for value in values]
    return base64.urlsafe_b64encode(orjson.dumps([sort, *shown])).decode()


def instant(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def money(amount: int | None, currency: str | None) -> Any:
    if amount is None or currency is None:
        return None
    exponent = EXPONENTS[currency]
    digits = f"{abs(amount):0{exponent + 1}d}"
    whole = digits if exponent == 0 else f"{digits[:-exponent]}.{digits[-exponent:]}"
    return {"amount": f"{'-' if amount < 0 else ''}{whole}", "currencyCode": currency}


def leaf(type_: Any, value: Any) -> Any:  # noqa: PLR0911 - one a kind of scalar
    """A stored value as the API writes it."""
    if isinstance(type_, GraphQLNonNull):
        return leaf(type_.of_type, value)
    if value is None:
        return None
    if isinstance(type_, GraphQLList):
        return [leaf(type_.of_type, entry) for entry in value]
    if type_.name == "JSON":
        return orjson.Fragment(value)
    if isinstance(value, dt.datetime):
        return instant(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    return getattr(value, "name", value)


def embedded(type_: Any, value: Any) -> Any:
    """A value type kept as JSON: what is not of its shape is null."""
    if isinstance(type_, GraphQLNonNull):
        return embedded(type_.of_type, value)
    if isinstance(type_, GraphQLList):
        return [embedded(type_.of_type, entry) for entry in value] if isinstance(value, list) else None
    if not isinstance(value, dict):
        return None
    assert isinstance(type_, GraphQLObjectType)
    shown = {}
    for name, definition in type_.fields.items():
        member = value.get(re.sub(r"[A-Z]|(?<=[a-z])\d+", lambda found: "_" + found[0].lower(), name))
        if member is None:
            member = value.get(re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), name))
        named = get_named_type(definition.type)
        shown[name] = embedded(definition.type, member) if isinstance(named, GraphQLObjectType) else member
    return shown
