"""Reading files: one record at a time, joined with the rows of other files, in bounded memory.

A joined file of any size and order is put into a temporary SQLite file first, from
which each batch fetches its rows by key.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import BufferedReader, TextIOWrapper
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from domain.imports import MapError, RecordError
from services.imports.mapping import ColumnMap, FieldSource, FileFormat, JoinedFile

csv.field_size_limit(1_000_000)

REMEMBERED = 16_384
"""Keys of a looked-up file whose row, and lines whose values are at hand."""

Cell = Callable[[Sequence[str]], str | None]
"""A field's text in a row; None when it is empty."""


@dataclass(slots=True)
class Record:
    """A record of the file: its place, its cells as they stand there, and what they came to."""

    number: int
    cells: list[str]
    values: dict[str, Any] = field(default_factory=dict)
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    """Records may share what equal lines came to."""
    problem: str | None = None


class Source:
    """A file and those it is joined with. Use as a context manager."""

    def __init__(self, path: Path, columns: ColumnMap) -> None:
        self.path = path
        self._map = columns
        with contextlib.ExitStack() as opened:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="oms-import-"))
            self._joins = sqlite3.connect(Path(folder) / "joined.sqlite3")
            opened.callback(self._joins.close)
            self._file = opened.enter_context(_open(path))
            self._reader = csv.reader(_text(self._file, columns.format), delimiter=columns.format.delimiter)
            self.heading = next(self._reader, [])
            self.size = path.stat().st_size
            wanted = {name for source in columns.fields for name in source.columns()}
            if columns.lines is not None:
                wanted.add(columns.lines.parent)
            _check_heading(path, self.heading, wanted)
            self._parent = self.heading.index(columns.lines.parent) if columns.lines is not None else 0
            stored = self._store_joined()
            self._fields = self._reads(columns.fields, self.heading, stored)
            self._line_fields = self._reads(columns.line_fields, stored.get("lines", []), stored)
            # Files sell the same again and again.
            self._line_values = lru_cache(REMEMBERED)(self._line_fields.values)
            self._opened = opened.pop_all()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def bytes_read(self) -> int:
        return self._file.tell()

    def digest(self) -> str:
        """What tells this import from another: the files' contents and the map."""
        digest = hashlib.sha256(repr(self._map).encode())
        for path in [self.path, *(self._beside(joined.file) for joined in self._joined())]:
            with _open(path) as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    def batches(self, skip: int, size: int) -> Iterator[list[Record]]:
        """Records from the one after `skip` on, `size` at a time, each still to be converted."""
        batch: list[Record] = []
        number = 0
        while True:
            problem: str | None = None
            try:
                cells = next(self._reader)
            except StopIteration:
                break
            except csv.Error as error:
                cells, problem = [], f"the line cannot be read: {error}"
            else:
                if not cells:
                    continue
                if len(cells) != len(self.heading):
                    problem = f"it has {len(cells)} cells, the heading {len(self.heading)}"
            number += 1
            if number <= skip:
                continue
            batch.append(Record(number=number, cells=cells, problem=problem))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def convert(self, record: Record) -> None:
        """Give the record the values of its cells and its lines, or its problem."""
        if record.problem is not None:
            return
        try:
            record.values = self._fields.values(record.cells)
            if self._map.lines is not None:
                key = record.cells[self._parent].strip()
                for index, cells in enumerate(self._fetch("lines", key), start=1):
                    try:
                        record.lines.append(self._line_values(tuple(cells)))
                    except RecordError as error:
                        raise RecordError(f"line {index}: {error}") from None
        except RecordError as error:
            record.problem = str(error)

    def _joined(self) -> list[JoinedFile]:
        return [*self._map.lookups.values(), *([self._map.lines] if self._map.lines else [])]

    def _beside(self, name: str) -> Path:
        return self.path.parent / name

    def _store_joined(self) -> dict[str, list[str]]:
        """Store every joined file; the names of the columns that are kept of each, by its table."""
        stored = {}
        for name, lookup in self._map.lookups.items():
            used = [s for s in (*self._map.fields, *self._map.line_fields) if s.lookup == name]
            table = f"lookup_{name}"
            stored[table] = self._store(table, lookup, {column for s in used for column in s.looked_up()})
        if self._map.lines is not None:
            wanted = {name for source in self._map.line_fields for name in source.columns()}
            stored["lines"] = self._store("lines", self._map.lines, wanted)
        return stored

    def _store(self, table: str, joined: JoinedFile, wanted: set[str]) -> list[str]:
        """Put the columns that are wanted of a joined file where they can be found by key."""
        path = self._beside(joined.file)
        names = sorted(wanted)
        with _open(path) as file:
            rows = csv.reader(_text(file, self._map.format), delimiter=self._map.format.delimiter)
            heading = next(rows, [])
            _check_heading(path, heading, {*wanted, joined.key})
            places = [heading.index(name) for name in names]
            key = heading.index(joined.key)
            whole = (row for row in rows if len(row) == len(heading))
            # Rows of one key that follow each other are kept together. Surrogates (undecodable
            # bytes) travel as JSON escapes, which SQLite could not store.
            self._joins.execute(f'create table "{table}" (key blob, rows text)')
            self._joins.executemany(
                f'insert into "{table}" values (?, ?)',
                (
                    (_key(of), json.dumps([[row[place] for place in places] for row in same]))
                    for of, same in groupby(whole, lambda row: row[key].strip())
                ),
            )
        self._joins.execute(f'create index "{table}_key" on "{table}" (key)')
        self._joins.commit()
        return names

    def _fetch(self, table: str, key: str) -> list[list[str]]:
        found = self._joins.execute(f'select rows from "{table}" where key = ? order by rowid', (_key(key),))
        return [row for (rows,) in found for row in json.loads(rows)]

    def _reads(
        self, sources: Sequence[FieldSource], heading: Sequence[str], stored: Mapping[str, Sequence[str]]
    ) -> _Fields:
        return _Fields(
            [
                _Field(
                    source.name,
                    None if source.column is None or source.lookup else heading.index(source.column),
                    self._cell(source, heading, stored),
                    source.conversion.reader(self._map.currency),
                )
                for source in sources
            ],
            self._map.format.empty,
        )

    def _cell(self, source: FieldSource, heading: Sequence[str], stored: Mapping[str, Sequence[str]]) -> Cell:
        """How the text of a field that is no plain column is made."""
        if source.constant is not None or source.template is None:
            return lambda row: source.constant
        if source.lookup is None:
            return self._made_of(source.template, source.columns(), heading)
        table = f"lookup_{source.lookup}"
        made = self._made_of(source.template, source.looked_up(), stored[table])
        place = heading.index(source.column or "")
        first = lru_cache(REMEMBERED)(lambda key: next(iter(self._fetch(table, key)), None))

        def look_up(row: Sequence[str]) -> str | None:
            key = row[place].strip()
            if key in self._map.format.empty:
                return None
            found = first(key)
            if found is None:
                file = self._map.lookups[source.lookup or ""].file
                raise RecordError(f"{source.name}: {file} has no {key!r}")
            return made(found)

        return look_up

    def _made_of(self, template: str, names: set[str], heading: Sequence[str]) -> Cell:
        """A text with columns in braces; None when all of them are empty."""
        places = {name: heading.index(name) for name in names}
        empty = self._map.format.empty

        def made(row: Sequence[str]) -> str | None:
            parts = {name: row[place].strip() for name, place in places.items()}
            if all(part in empty for part in parts.values()):
                return None
            return " ".join(template.format(**parts).split())

        return made


class _Field(NamedTuple):
    name: str
    place: int | None
    """The column that the field is, if it is one."""
    cell: Cell
    read: Callable[[str], Any]


class _Fields:
    """The fields of a record or of a line, with where each cell stands and how it is read."""

    def __init__(self, fields: Sequence[_Field], empty: frozenset[str]) -> None:
        self._fields = fields
        self._empty = empty

    def values(self, row: Sequence[str]) -> dict[str, Any]:
        """What the row's cells mean; empty ones are left out. Raises RecordError."""
        values: dict[str, Any] = {}
        for name, place, cell, read in self._fields:
            if place is None:
                text = cell(row)
                if text is None:
                    continue
            else:
                text = row[place].strip()
                if text in self._empty:
                    continue
            try:
                values[name] = read(text)
            except RecordError as error:
                raise RecordError(f"{name}: {error}") from None
        return values


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(file: BufferedReader, format_: FileFormat) -> TextIOWrapper:
    """Bytes that are not of the encoding become surrogates, which the checks of each text refuse."""
    return TextIOWrapper(file, encoding=format_.encoding, errors="surrogateescape", newline="")


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise MapError(f"{path} cannot be read: {error.strerror}.") from error


def _check_heading(path: Path, heading: Sequence[str], wanted: set[str]) -> None:
    if len(set(heading)) != len(heading):
        raise MapError(f"the heading of {path.name} names a column twice.")
    if missing := sorted(wanted - set(heading)):
        raise MapError(
            f"{path.name} has no column {', '.join(missing)}; its heading is {', '.join(heading) or 'empty'}."
        )
