"""Nobody writes lines of a log, paints an operator's terminal, or has a spreadsheet compute what a partner sent."""

from __future__ import annotations

import csv
import io
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import orjson
import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.logging import RequestLog, configure
from app.settings import LogFormat, LogLevel
from domain.imports import ImportKind
from services.imports.running import run_import
from tests.imports.test_imports import PRODUCTS
from tests.serving import Api, served
from tests.world import STAFF

HOSTILE = [
    "a\nb", "a\r\n2026-01-01T00:00:00Z [info] request path=/ status=200", "\x1b[2J\x1b[31mred", "\x07", "\x9b31m",
    "\x85", "a\u2028b", "\u202egnp.exe", "\x00", '"}\n{"event":"forged"}', "\\n",
]  # fmt: skip


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[LogFormat], io.BytesIO]]:
    """What the process logs from now on, in the format asked for."""
    handlers = logging.getLogger().handlers[:]

    def begin(log_format: LogFormat) -> io.BytesIO:
        output = io.BytesIO()
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(output, "utf-8", write_through=True, newline=""))
        configure(log_format, LogLevel.INFO)
        return output

    yield begin
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


@pytest.mark.parametrize("log_format", LogFormat)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_request_is_one_line_whatever_its_path_says(
    written: Callable[[LogFormat], io.BytesIO], log_format: LogFormat, text: str
) -> None:
    output = written(log_format)
    with TestClient(RequestLog(Starlette(), log_format)) as caller:
        answer = caller.get(f"/{quote(text)}", headers={"x-request-id": "r1\x1b[2J"})
    assert "\x1b" not in answer.headers["x-request-id"]
    lines = [line for line in output.getvalue().decode().split("\n") if "request" in line]
    assert len(lines) == 1
    if log_format is LogFormat.JSON:
        assert orjson.loads(lines[0])["path"] == f"/{text}"
    else:
        assert lines[0].isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_what_libraries_and_exceptions_say_is_escaped_for_people(
    written: Callable[[LogFormat], io.BytesIO], text: str
) -> None:
    output = written(LogFormat.CONSOLE)
    logging.getLogger("theirs").warning("said %s", text)
    structlog.get_logger().warning(f"ours {text}", detail=text)
    assert all(line.isprintable() for line in output.getvalue().decode().rstrip("\n").split("\n"))
    assert output.getvalue().count(b"\n") == 2
    try:
        raise RuntimeError(text)
    except RuntimeError:
        structlog.get_logger().exception("failed")
    assert all(line.isprintable() for line in output.getvalue().decode().split("\n"))


@pytest.mark.parametrize("name", ["accept", "content-type", "x-request-id", "x-oms-consistency", "cookie"])
@pytest.mark.parametrize(
    "sent", [b"\x1b[2J", b"\x80\xff", "😀".encode(), b"a" * 60_000, b";;;,,,q=,*/*;q=nan", b""]
)
async def test_no_header_harms(api: Api, name: str, sent: bytes) -> None:
    headers = {
        b"authorization": f"Bearer {api.token(STAFF)}".encode(), b"content-type": b"application/json",
        name.encode(): sent,
    }  # fmt: skip
    try:
        response = await api.http.post("/graphql", content=b'{"query":"{ __typename }"}', headers=headers)
    except httpx2.LocalProtocolError:
        pytest.skip("no client sends this")
    assert response.status_code in (200, 400, 406, 415), response.text
    assert response.headers.get("x-request-id", "").isprintable()


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with served(database_url, workers=False) as served_api:
        yield served_api


async def test_rejected_records_are_read_again_as_they_stood_and_no_reason_is_a_formula(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """The cells are the partner's own, to be mended and imported: nothing is put before them."""
    cells = [
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        'a";"b',
        "a\nb",
        "a\x1b[2J",
        "a\x85",
        "😀,;",
    ]
    heading = ["sku", "name", "price", "grams"]
    file, columns = tmp_path / "file.csv", tmp_path / "map.toml"
    columns.write_text(PRODUCTS)
    with file.open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows(
            [heading, *([f"S{n}", cell, cell, cell] for n, cell in enumerate(cells))]
        )
    progress = await run_import(engine, ImportKind.PRODUCTS, file, columns)
    assert progress.rejected == len(cells)
    with (tmp_path / "file.rejected.csv").open(newline="", encoding="utf-8") as source:
        rejected = list(csv.reader(source))
    assert rejected[0] == ["record", "reason", *heading]
    assert [row[3] for row in rejected[1:]] == cells
    for _, reason, *_ in rejected[1:]:
        assert reason[0].isalpha()
        assert reason.isprintable(), reason


async def test_no_text_with_control_characters_is_imported(engine: AsyncEngine, tmp_path: Path) -> None:
    file, columns = tmp_path / "file.csv", tmp_path / "map.toml"
    columns.write_text(PRODUCTS)
    with file.open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows(
            [["sku", "name", "price", "grams"], *([f"S{n}", text, "1", ""] for n, text in enumerate(HOSTILE))]
        )
    progress = await run_import(engine, ImportKind.PRODUCTS, file, columns)
    assert (progress.created, progress.rejected) == (
        3,
        len(HOSTILE) - 3,
    )  # two of Unicode's own, and a backslash
