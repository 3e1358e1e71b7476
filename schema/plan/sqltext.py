"""SQL as text: concatenations of JSON pieces, and statements for asyncpg."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, asyncpg
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler

Piece = str | sa.ColumnElement[Any]
"""Part of a JSON text: finished text, or SQL whose value is text."""


class Concatenation(sa.ColumnElement[str]):
    """`a || 'b' || c`, flat: a nested binary operator per field would be as deep as the document is long.

    Concatenating text is 1.5 times faster than json_build_object and three times
    faster than jsonb_build_object.
    """

    __visit_name__ = "concatenation"
    inherit_cache = False
    type = sa.Text()

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = folded(pieces)

    def get_children(self, **_: Any) -> Iterable[sa.ColumnElement[Any]]:
        return [piece for piece in self.pieces if not isinstance(piece, str)]


def folded(pieces: Sequence[Piece]) -> list[Piece]:
    """The same text with neighbouring finished parts joined and nested concatenations spread out."""
    out: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Concatenation):
            for inner in piece.pieces:
                _append(out, inner)
        else:
            _append(out, piece)
    return out


def _append(out: list[Piece], piece: Piece) -> None:
    if isinstance(piece, str) and out and isinstance(out[-1], str):
        out[-1] += piece
    else:
        out.append(piece)


def quoted(text: str) -> str:
    """A literal under standard_conforming_strings, which is on in every supported PostgreSQL."""
    return "'" + text.replace("'", "''") + "'"


class LiteralText(sa.ColumnElement[str]):
    """Finished text where SQL wants an expression."""

    __visit_name__ = "literal_text"
    inherit_cache = False
    type = sa.Text()

    def __init__(self, text: str) -> None:
        self.text = text


class LiteralTexts(sa.ColumnElement[Sequence[str]]):
    """A list of finished texts as an array."""

    __visit_name__ = "literal_texts"
    inherit_cache = False
    type = ARRAY(sa.Text())

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts


def is_single(values: Any) -> bool:
    """Whether this is a list known to be of one value: `= any` of it is `=`, which an index's order survives."""
    return isinstance(values, LiteralTexts) and len(values.texts) == 1


@compiles(LiteralTexts)
def _literals(element: LiteralTexts, compiler: SQLCompiler, **options: Any) -> str:
    return f"array[{', '.join(quoted(text) for text in element.texts)}]::text[]"


@compiles(LiteralText)
def _literal(element: LiteralText, compiler: SQLCompiler, **options: Any) -> str:
    return f"{quoted(element.text)}::text"


@compiles(Concatenation)
def _concatenation(element: Concatenation, compiler: SQLCompiler, **options: Any) -> str:
    options.pop("add_to_result_map", None)
    if not element.pieces:
        return "''::text"
    if len(element.pieces) == 1 and isinstance(element.pieces[0], str):
        return f"{quoted(element.pieces[0])}::text"
    parts = [
        quoted(piece) if isinstance(piece, str) else compiler.process(piece, **options)
        for piece in element.pieces
    ]
    return "(" + " || ".join(parts) + ")"


def as_text(pieces: Sequence[Piece]) -> sa.ColumnElement[str]:
    return Concatenation(pieces)


def columns_of(source: sa.FromClause, expressions: Iterable[sa.ColumnElement[Any]]) -> set[str]:
    """The names of the columns of `source` that the expressions read, at any depth."""
    return {
        found.key
        for expression in expressions
        for found in visitors.iterate(expression)
        if isinstance(found, sa.ColumnClause) and found.table is source
    }


class _Compiler(asyncpg.PGCompiler_asyncpg):
    """Values that the statement's author wrote become literals; only declared parameters stay parameters.

    PostgreSQL then knows page sizes and statuses when it plans, and a generic plan
    stays as good as a custom one. With the option `variables`, only those are parameters:
    whatever else is asked for becomes a column of `caller`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.of_caller: dict[str, str] = {}
        """The columns of `caller` and their types."""
        super().__init__(*arguments, **options)

    def visit_bindparam(self, bindparam: Any, *arguments: Any, **options: Any) -> Any:
        if not bindparam.required:
            options["literal_binds"] = True
        elif bindparam.key not in self.execution_options.get("variables", (bindparam.key,)):
            self.of_caller[bindparam.key] = self.dialect.type_compiler_instance.process(bindparam.type)
            return f"caller.{bindparam.key}"
        return super().visit_bindparam(bindparam, *arguments, **options)  # type: ignore[no-untyped-call]

    def visit_any_op_unary_operator(self, unary: Any, operator: Any, **options: Any) -> str:
        values = getattr(unary.element, "element", unary.element)  # without its parentheses
        if is_single(values):
            return quoted(values.texts[0])
        return f"ANY {self.process(unary.element, **options)}"


class _Dialect(asyncpg.PGDialect_asyncpg):
    statement_compiler = _Compiler
    supports_statement_cache = False


_DIALECT = _Dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's dialects are untyped


def compiled(statement: sa.Select[Any]) -> tuple[str, tuple[str, ...]]:
    """The text for asyncpg, and the names of its parameters in the order of `$1, $2, …`."""
    made = statement.compile(dialect=_DIALECT)
    names: Sequence[str] = getattr(made, "positiontup", None) or ()
    return str(made), tuple(names)


def compiled_for_callers(
    statement: sa.Select[Any], variables: Iterable[str]
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The statement's rows for many callers at once, each after the place of the caller that it is for.

    Returns the text, the names of the variables among its parameters, and those of each caller's own values.
    The last parameter is JSON: an object of `place` and these values for each caller.
    """
    made = cast(
        "_Compiler",
        statement.execution_options(variables=frozenset(variables)).compile(dialect=_DIALECT),
    )
    names = tuple(made.positiontup or ())
    columns = "".join(f", {name} {type_}" for name, type_ in made.of_caller.items())
    # OFFSET keeps each caller's part apart: few rows, found by their keys.
    text = (
        f"select caller.place, shown.*\n"
        f"from json_to_recordset(${len(names) + 1}) as caller(place integer{columns})\n"
        f"cross join lateral ({made} offset 0) as shown"
    )
    return text, names, tuple(made.of_caller)
