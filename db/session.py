"""What a use case writes through: one connection inside one transaction.

In a unit of work, writes that nobody waits for are gathered and sent together, as one
statement, when something is read that they may have changed, and before the COMMIT. So a
use case says what it does in the order it does it, and pays few round trips for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVarTuple, cast, overload

import asyncpg
import sqlalchemy as sa
from sqlalchemy.engine.result import IteratorResult, Result
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.selectable import TypedReturnsRows
from sqlalchemy.util import LRUCache

from db import statements
from db.statements import Insertion, Parameters, Prepared

Ts = TypeVarTuple("Ts")
Rows = Result[*tuple[Any, ...]]

MAX_GATHERED = 24
"""Writes in one statement; more only make its text, and the server's plan, longer."""

_together: LRUCache[tuple[str, ...], str] = LRUCache(1_000)


@dataclass(slots=True)
class _Write:
    """A gathered write: a statement with its values, or the rows of an INSERT."""

    tables: frozenset[str]
    text: str = ""
    values: list[Any] = field(default_factory=list)
    insertion: Insertion | None = None
    rows: list[Parameters] = field(default_factory=list)


class Session:
    """Runs SQLAlchemy Core statements on an asyncpg connection, each compiled once.

    `gathering`: writes that return nothing may wait for others; otherwise each is sent at once.
    Errors are the driver's own (`asyncpg.PostgresError`); a gathered write raises them
    when it is sent.
    """

    __slots__ = ("_begin_with", "_begun", "_driver", "_gathered", "_gathering", "_touched", "_unless")

    def __init__(
        self,
        driver: asyncpg.Connection[Any],
        *,
        gathering: bool = False,
        lock_timeout_seconds: float | None = None,
    ) -> None:
        self._driver = driver
        self._begin_with = "BEGIN"
        if lock_timeout_seconds is not None:
            self._begin_with += f"; SET LOCAL lock_timeout = {int(lock_timeout_seconds * 1000)}"
        self._gathering = gathering
        self._begun = False
        self._gathered: list[_Write] = []
        self._touched: frozenset[str] = frozenset()
        self._unless: dict[str, Callable[[], Exception]] = {}

    @overload
    async def execute(
        self,
        statement: TypedReturnsRows[*Ts],
        parameters: Parameters | Sequence[Parameters] | None = None,
    ) -> Result[*Ts]: ...

    @overload
    async def execute(
        self, statement: sa.Executable, parameters: Parameters | Sequence[Parameters] | None = None
    ) -> Rows: ...

    async def execute(
        self, statement: Any, parameters: Parameters | Sequence[Parameters] | None = None
    ) -> Rows:
        """Run a statement. One that writes and returns nothing may be sent later; see `flush`.

        A sequence of parameters runs it once for each; rows of a plain INSERT go in one statement.
        """
        if parameters is not None and not isinstance(parameters, Mapping):
            return await self._execute_many(statement, parameters)
        if isinstance(statement, ExecutableDDLElement):
            await self.flush()
            await self._fetch(str(statement.compile(dialect=statements.DIALECT)), ())
            return _nothing()
        given = {} if parameters is None else parameters
        if given and statements.rows_of(statement) is not None:
            await self.add(statement.table, [given])
            return _nothing()
        prepared = statements.prepared(statement, given)
        return await self._send(prepared, prepared.values(given))

    async def _send(self, prepared: Prepared, values: list[Any]) -> Rows:
        if prepared.opaque or not self._touched.isdisjoint(prepared.tables):
            await self.flush()
        if prepared.writes and self._gathering and not prepared.text.startswith("WITH"):
            await self._gather(_Write(prepared.tables, prepared.text, values))
            return _nothing()
        records = await self._fetch(prepared.text, values)
        columns = prepared.columns
        if columns is None:
            if not records:
                return _nothing()
            columns = statements.columns_of(records[0])
        return columns.result(records)

    async def fetch(self, statement: Any, parameters: Parameters) -> list[tuple[Any, ...]]:
        """The rows of a SELECT as plain tuples: what is read for every order need not be more."""
        prepared = statements.prepared(statement, parameters)
        if not self._touched.isdisjoint(prepared.tables):
            await self.flush()
        if prepared.columns is None:
            raise TypeError("only a statement whose columns are known is fetched")
        return prepared.columns.rows(await self._fetch(prepared.text, prepared.values(parameters)))

    async def scalar(self, statement: Any, parameters: Parameters | None = None) -> Any:
        """The first column of the first row, or None."""
        return (await self.execute(statement, parameters)).scalar()

    async def add(
        self,
        table: type[Any] | sa.Table,
        rows: Sequence[Parameters],
        *,
        unless: Mapping[str, Callable[[], Exception]] | None = None,
    ) -> None:
        """Insert rows that all have the same columns; sent with the other writes.

        `unless`: what makes the exception to raise, by the name of the unique constraint that stands against a row.
        """
        if not rows:
            return
        if unless:
            self._unless |= unless
        target = cast("sa.Table", getattr(table, "__table__", table))
        how = statements.insertion(target, rows[0])
        for write in self._gathered:
            if write.insertion is how:
                write.rows.extend(rows)
                return
            if how.table in write.tables and write.insertion is None:
                # A row may take the place of one that goes: then that one goes first.
                await self.flush()
                break
        await self._gather(_Write(frozenset({how.table}), insertion=how, rows=list(rows)))
        if not self._gathering:
            await self.flush()

    async def flush(self) -> None:
        """Send what was gathered, in one statement; a driver's error is that of any part of it."""
        if not self._gathered:
            return
        gathered, self._gathered, self._touched = self._gathered, [], frozenset()
        texts, values = [], []
        for write in gathered:
            if write.insertion is not None:
                texts.append(write.insertion.text(write.rows))
                values += write.insertion.values(write.rows)
            else:
                texts.append(write.text)
                values += write.values
        unless, self._unless = self._unless, {}
        try:
            await self._fetch(_combined(tuple(texts)), values)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name in unless:
                raise unless[error.constraint_name]() from error
            raise

    async def open(self) -> None:
        """Begin the transaction now, and not with the first statement."""
        await self._begin()

    async def driver(self) -> asyncpg.Connection[Any]:
        """The connection itself, in the transaction, with nothing left to send."""
        await self._begin()
        await self.flush()
        return self._driver

    async def commit(self) -> None:
        await self.flush()
        if self._begun:
            await self._driver.execute("COMMIT")
            self._begun = False

    async def rollback(self) -> None:
        self._gathered, self._touched = [], frozenset()
        if self._begun:
            await self._driver.execute("ROLLBACK")
            self._begun = False

    async def _begin(self) -> None:
        if not self._begun:
            await self._driver.execute(self._begin_with)
            self._begun = True

    async def _gather(self, write: _Write) -> None:
        if len(self._gathered) == MAX_GATHERED:
            await self.flush()
        self._gathered.append(write)
        self._touched |= write.tables

    async def _fetch(self, text: str, values: Sequence[Any]) -> Sequence[Any]:
        if not self._begun:
            await self._begin()
        return await self._driver.fetch(text, *values)

    async def _execute_many(self, statement: Any, parameters: Sequence[Parameters]) -> Rows:
        if not parameters:
            return _nothing()
        table = statements.rows_of(statement)
        if table is not None:
            await self.add(table, parameters)
            return _nothing()
        if isinstance(statement, Insert):
            together = statements.of_rows(statement, parameters)
            if together is None:
                return await self.execute(statement.values(list(parameters)))
            return await self._send(*together)
        prepared = statements.prepared(statement, parameters[0])
        await self.flush()
        if prepared.columns is None:
            await self._begin()
            await self._driver.executemany(prepared.text, [prepared.values(given) for given in parameters])
            return _nothing()
        raise TypeError("only what returns nothing is run for a sequence of parameters")


def _nothing() -> Rows:
    return IteratorResult(statements.NOTHING, iter(()))


def _combined(texts: tuple[str, ...]) -> str:
    """One statement that does them all: the last is the main one, the others are data-modifying WITH clauses."""
    if len(texts) == 1:
        return texts[0]
    found = _together.get(texts)
    if found is None:
        numbered, count = [], 0
        for text in texts:
            numbered.append(statements.shifted(text, count))
            count += max((int(place) for place in statements.places(text)), default=0)
        clauses = ", ".join(f"w{number} AS ({text})" for number, text in enumerate(numbered[:-1]))
        found = _together[texts] = f"WITH {clauses} {numbered[-1]}"
    return found
