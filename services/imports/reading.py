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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any

from domain.imports import MapError, RecordError
from services.imports.mapping import ColumnMap, FieldSource, FileFormat, JoinedFile

csv.field_size_limit(1_000_000)

Row = dict[str, str]


@dataclass(slots=True)
class Record:
    """A record of the file: its place, its cells as they stand there, and what they came to."""

    number: int
    cells: list[str]
    values: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None


class Source:
    """A file and those it is joined with. Use as a context manager."""

    def __init__(self, path: Path, columns: ColumnMap) -> None:
        self.path = path
        self._map = columns
        self._line_names: list[str] = []
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
            self._prepare()
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
        """Records from the one after `skip` on, converted, `size` at a time."""
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
                yield self._converted(batch)
                batch = []
        if batch:
            yield self._converted(batch)

    def _joined(self) -> list[JoinedFile]:
        return [*self._map.lookups.values(), *([self._map.lines] if self._map.lines else [])]

    def _beside(self, name: str) -> Path:
        return self.path.parent / name

    def _prepare(self) -> None:
        for name, lookup in self._map.lookups.items():
            used = [s for s in (*self._map.fields, *self._map.line_fields) if s.lookup == name]
            self._store(f"lookup_{name}", lookup, {column for s in used for column in s.looked_up()})
        if self._map.lines is not None:
            wanted = {name for source in self._map.line_fields for name in source.columns()}
            self._line_names = self._store("lines", self._map.lines, wanted)

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
            # Surrogates (undecodable bytes) travel as JSON escapes, which SQLite could not store.
            self._joins.execute(f'create table "{table}" (key text, cells text)')
            self._joins.executemany(
                f'insert into "{table}" values (?, ?)',
                (
                    (json.dumps(row[key].strip()), json.dumps([row[place] for place in places]))
                    for row in rows
                    if len(row) == len(heading)
                ),
            )
        self._joins.execute(f'create index "{table}_key" on "{table}" (key)')
        self._joins.commit()
        return names

    def _fetch(self, table: str, key: str) -> list[list[str]]:
        rows = self._joins.execute(
            f'select cells from "{table}" where key = ? order by rowid', (json.dumps(key),)
        )
        return [json.loads(cells) for (cells,) in rows]

    def _converted(self, batch: list[Record]) -> list[Record]:
        for record in batch:
            if record.problem is None:
                try:
                    self._convert(record)
                except RecordError as error:
                    record.problem = str(error)
        return batch

    def _convert(self, record: Record) -> None:
        row = dict(zip(self.heading, record.cells, strict=True))
        record.values = self._values(self._map.fields, row)
        if self._map.lines is None:
            return
        key = row[self._map.lines.parent].strip()
        for index, cells in enumerate(self._fetch("lines", key), start=1):
            line = dict(zip(self._line_names, cells, strict=True))
            try:
                record.lines.append(self._values(self._map.line_fields, line))
            except RecordError as error:
                raise RecordError(f"line {index}: {error}") from None

    def _values(self, sources: Sequence[FieldSource], row: Mapping[str, str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for source in sources:
            cell = self._cell(source, row)
            if cell is not None:
                try:
                    values[source.name] = source.conversion.convert(cell, self._map.currency)
                except RecordError as error:
                    raise RecordError(f"{source.name}: {error}") from None
        return values

    def _cell(self, source: FieldSource, row: Mapping[str, str]) -> str | None:
        """The field's text in this row; None when it is empty."""
        empty = self._map.format.empty
        if source.constant is not None:
            return source.constant
        if source.lookup is not None:
            key = row[source.column or ""].strip()
            if key in empty:
                return None
            found = self._fetch(f"lookup_{source.lookup}", key)
            if not found:
                raise RecordError(f"{source.name}: {self._map.lookups[source.lookup].file} has no {key!r}")
            row = dict(zip(self._lookup_names(source.lookup), found[0], strict=True))
        if source.template is not None:
            parts = {name: row[name].strip() for name in row}
            cell = " ".join(source.template.format(**parts).split())
            return None if all(parts[name] in empty for name in _names(source)) else cell
        cell = row[source.column or ""].strip()
        return None if cell in empty else cell

    def _lookup_names(self, lookup: str) -> list[str]:
        used = [s for s in (*self._map.fields, *self._map.line_fields) if s.lookup == lookup]
        return sorted({column for source in used for column in source.looked_up()})


def _names(source: FieldSource) -> set[str]:
    return source.looked_up() or source.columns()


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
