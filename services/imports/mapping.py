"""Maps: which column of a file is which field of ours, written in TOML.

`docs/imports/README.md` is the guide for those who write them; every mistake is
answered with a sentence that says what to write instead.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from domain.imports import ImportKind, MapError
from domain.money import EXPONENTS
from services.imports.values import Conversion, FieldType, time_zone

TEXT, INTEGER, MONEY = FieldType.TEXT, FieldType.INTEGER, FieldType.MONEY
DATE, FRACTION, BOOLEAN = FieldType.DATE, FieldType.FRACTION, FieldType.BOOLEAN

_ADDRESS = dict.fromkeys(
    (
        "name",
        "company",
        "line1",
        "line2",
        "city",
        "region",
        "postal_code",
        "country",
        "country_code",
        "phone",
    ),
    TEXT,
)


def _address(prefix: str) -> dict[str, FieldType]:
    return {f"{prefix}.{part}": type_ for part, type_ in _ADDRESS.items()}


FIELDS: dict[ImportKind, dict[str, FieldType]] = {
    ImportKind.CUSTOMERS: {
        "external_id": TEXT,
        "name": TEXT,
        "email": TEXT,
        "phone": TEXT,
        "locale": TEXT,
        **_address("address"),
        "company.external_id": TEXT,
        "company.name": TEXT,
        "company.tax_number": TEXT,
    },
    ImportKind.PRODUCTS: {
        "external_id": TEXT,
        "sku": TEXT,
        "name": TEXT,
        "description": TEXT,
        "barcode": TEXT,
        "tax_class": TEXT,
        "weight_grams": INTEGER,
        "backorderable": BOOLEAN,
        "active": BOOLEAN,
        "price": MONEY,
    },
    ImportKind.STOCK: {"sku": TEXT, "location": TEXT, "quantity": INTEGER, "reference": TEXT},
    ImportKind.ORDERS: {
        "external_id": TEXT,
        "number": TEXT,
        "customer": TEXT,
        "email": TEXT,
        "phone": TEXT,
        "sales_representative": TEXT,
        "note": TEXT,
        "placed_at": DATE,
        "shipped_at": DATE,
        "delivered_at": DATE,
        "cancelled_at": DATE,
        "carrier": TEXT,
        "tracking_number": TEXT,
        "shipping": MONEY,
        "fee": MONEY,
        **_address("shipping_address"),
        **_address("billing_address"),
    },
}
"""Fields by kind. `metadata.<key>` is text in every kind but stock."""

LINE_FIELDS: dict[str, FieldType] = {
    "external_id": TEXT,
    "sku": TEXT,
    "name": TEXT,
    "quantity": INTEGER,
    "unit_price": MONEY,
    "discount": FRACTION,
    "discount_amount": MONEY,
}

REQUIRED: dict[ImportKind, tuple[str, ...]] = {
    ImportKind.CUSTOMERS: ("external_id", "name"),
    ImportKind.PRODUCTS: ("sku", "name"),
    ImportKind.STOCK: ("sku", "quantity"),
    ImportKind.ORDERS: ("external_id", "placed_at"),
}
REQUIRED_OF_LINES = ("sku", "quantity", "unit_price")

_TOP = {"kind", "system", "file", "fields", "lookups", "lines", "channel", "location", "price_list"}
_OPTIONS = {
    "column",
    "constant",
    "template",
    "lookup",
    "format",
    "time_zone",
    "round",
    "decimals",
    "values",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSource:
    """Where a field's cell comes from: a column, a template of columns or a constant; perhaps looked up."""

    name: str
    conversion: Conversion
    column: str | None = None
    template: str | None = None
    constant: str | None = None
    lookup: str | None = None

    def columns(self) -> set[str]:
        """Columns of the file itself that this field reads."""
        if self.lookup is not None:
            return {self.column} if self.column is not None else set()
        return {self.column} if self.column is not None else _placeholders(self.template or "")

    def looked_up(self) -> set[str]:
        """Columns of the looked-up file that this field reads."""
        return _placeholders(self.template or "") if self.lookup is not None else set()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    decimal_mark: str = "."
    empty: frozenset[str] = frozenset({""})


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedFile:
    """Another file of the same folder: for each record, its rows (lines) or its one row (a lookup)."""

    file: str
    key: str
    parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMap:
    """A map as it was read and checked. `made` holds what the import makes if it is missing."""

    kind: ImportKind
    system: str
    fields: tuple[FieldSource, ...]
    format: FileFormat = field(default_factory=FileFormat)
    lookups: Mapping[str, JoinedFile] = field(default_factory=dict)
    lines: JoinedFile | None = None
    line_fields: tuple[FieldSource, ...] = ()
    made: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def currency(self) -> str | None:
        for table in ("channel", "price_list"):
            if currency := self.made.get(table, {}).get("currency"):
                return str(currency)
        return None


def read_map(path: Path, kind: ImportKind) -> ColumnMap:
    """The map in this file. Raises MapError with a sentence for anything wrong in it."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MapError(f"the map {path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise MapError(f"the map {path} is not TOML: {error}.") from error
    return parse_map(document, kind)


def parse_map(document: Mapping[str, Any], kind: ImportKind) -> ColumnMap:
    """Check a map's document against what the kind can take."""
    _only(document, _TOP, "the map")
    if str(document.get("kind", "")).upper() != kind:
        raise MapError(f'the map is for {document.get("kind")!r}: write kind = "{kind.lower()}".')
    format_ = _format(_table(document, "file"))
    system = _text(document, "system", "the map", needed=kind is not ImportKind.STOCK) or ""
    lookups = {
        name: _joined(table, f"[lookups.{name}]") for name, table in _table(document, "lookups").items()
    }
    fields = _fields(_table(document, "fields"), FIELDS[kind], REQUIRED[kind], "[fields]", format_, lookups)
    lines: JoinedFile | None = None
    line_fields: tuple[FieldSource, ...] = ()
    if kind is ImportKind.ORDERS:
        table = dict(_table(document, "lines"))
        written = table.pop("fields", {})
        lines = _joined(table, "[lines]", parent=True)
        line_fields = _fields(written, LINE_FIELDS, REQUIRED_OF_LINES, "[lines.fields]", format_, lookups)
    elif "lines" in document:
        raise MapError("only orders have [lines].")
    made = {
        name: _table(document, name) for name in ("channel", "location", "price_list") if name in document
    }
    _check_made(kind, made, {source.name for source in fields})
    return ColumnMap(
        kind=kind,
        system=system,
        fields=fields,
        format=format_,
        lookups=lookups,
        lines=lines,
        line_fields=line_fields,
        made=made,
    )


def _check_made(kind: ImportKind, made: Mapping[str, Mapping[str, Any]], fields: set[str]) -> None:
    for name, table in made.items():
        _only(table, {"code", "name", "kind", "currency", "time_zone"}, f"[{name}]")
        _text(table, "code", f"[{name}]", needed=True)
        currency = table.get("currency")
        if currency is not None and currency not in EXPONENTS:
            raise MapError(f"{currency!r} in [{name}] is not a currency of ISO 4217.")
    needed = {
        ImportKind.ORDERS: ["channel", "location"],
        ImportKind.PRODUCTS: ["price_list"] if "price" in fields else [],
        ImportKind.STOCK: [] if "location" in fields else ["location"],
        ImportKind.CUSTOMERS: [],
    }[kind]
    for name in needed:
        if name not in made:
            raise MapError(f'name the {name.replace("_", " ")} in the map: [{name}] with code = "…".')
    for name in ("channel", "price_list"):
        if name in needed and "currency" not in made[name]:
            raise MapError(f'say in which currency amounts are: currency = "…" in [{name}].')


def _fields(
    table: Mapping[str, Any],
    known: Mapping[str, FieldType],
    required: tuple[str, ...],
    where: str,
    format_: FileFormat,
    lookups: Mapping[str, JoinedFile],
) -> tuple[FieldSource, ...]:
    sources = []
    for name, written in _flat(table):
        type_ = TEXT if name.startswith("metadata.") else known.get(name)
        if type_ is None:
            raise MapError(f"{where} has no field {name!r}; there are {', '.join(known)} and metadata.<key>.")
        options = {"column": written} if isinstance(written, str) else written
        sources.append(_source(name, options, type_, f"{name} in {where}", format_, lookups))
    given = {source.name for source in sources}
    for name in required:
        if name not in given:
            raise MapError(f"{where} needs {name}.")
    return tuple(sources)


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """`address.city = …` is a table in a table to TOML; a table of options has only option names."""
    found: list[tuple[str, Any]] = []
    for name, written in table.items():
        if isinstance(written, dict) and not (written and written.keys() <= _OPTIONS):
            found += _flat(written, f"{prefix}{name}.")
        else:
            found.append((prefix + name, written))
    return found


def _source(
    name: str,
    options: Any,
    type_: FieldType,
    where: str,
    format_: FileFormat,
    lookups: Mapping[str, JoinedFile],
) -> FieldSource:
    if not isinstance(options, dict):
        raise MapError(f"{where} is a column's name or a table of options.")
    _only(options, _OPTIONS, where)
    lookup = options.get("lookup")
    if lookup is not None and lookup not in lookups:
        raise MapError(f"{where} looks up {lookup!r}: describe that file in [lookups.{lookup}].")
    chosen = {"column", "template", "constant"} & options.keys()
    if lookup is not None and chosen != {"column", "template"}:
        raise MapError(f"{where} needs the column that holds the key and a template of what is looked up.")
    if lookup is None and len(chosen) != 1:
        raise MapError(f"{where} needs one of column, template and constant.")
    if "template" in options:
        _placeholders(options["template"])
    formats = options.get("format", ())
    conversion = Conversion(
        type=type_,
        formats=(formats,) if isinstance(formats, str) else tuple(formats),
        zone=time_zone(options.get("time_zone", "UTC")),
        rounded=bool(options.get("round", False)),
        decimals=options.get("decimals"),
        decimal_mark=format_.decimal_mark,
        meanings={str(key): str(value) for key, value in options.get("values", {}).items()},
    )
    return FieldSource(
        name=name,
        conversion=conversion,
        column=options.get("column"),
        template=options.get("template"),
        constant=None if "constant" not in options else str(options["constant"]),
        lookup=lookup,
    )


def _joined(table: Any, where: str, *, parent: bool = False) -> JoinedFile:
    _only(table, {"file", "key", "parent"} if parent else {"file", "key"}, where)
    file, key = _text(table, "file", where, needed=True), _text(table, "key", where, needed=True)
    joined = JoinedFile(file=str(file), key=str(key))
    return replace(joined, parent=_text(table, "parent", where) or str(key)) if parent else joined


def _format(table: Mapping[str, Any]) -> FileFormat:
    _only(table, {"delimiter", "encoding", "decimal_mark", "empty"}, "[file]")
    format_ = FileFormat(
        delimiter=table.get("delimiter", ","),
        encoding=table.get("encoding", "utf-8-sig"),
        decimal_mark=table.get("decimal_mark", "."),
        empty=frozenset({"", *table.get("empty", ())}),
    )
    if len(format_.delimiter) != 1 or format_.decimal_mark not in (".", ","):
        raise MapError("[file] takes a delimiter of one character and a decimal_mark of . or ,")
    try:
        "".encode(format_.encoding)
    except LookupError:
        raise MapError(f"{format_.encoding!r} in [file] is not an encoding; write utf-8.") from None
    return format_


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise MapError(f"{name} is a table: write [{name}].")
    return table


def _text(table: Mapping[str, Any], name: str, where: str, *, needed: bool = False) -> str | None:
    value = table.get(name)
    if value is None and needed:
        raise MapError(f'{where} needs {name} = "…".')
    if value is not None and not isinstance(value, str):
        raise MapError(f"{name} in {where} is a text.")
    return value


def _only(table: Mapping[str, Any], known: set[str], where: str) -> None:
    if not isinstance(table, dict):
        raise MapError(f"{where} is a table.")
    for name in table.keys() - known:
        raise MapError(f"{where} has {name!r}, which means nothing; it takes {', '.join(sorted(known))}.")


def _placeholders(template: str) -> set[str]:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise MapError(f"the template {template!r} is broken: {error}.") from error
    if "" in names:
        raise MapError(f"the template {template!r} has empty braces: name columns in them.")
    return set(names)
