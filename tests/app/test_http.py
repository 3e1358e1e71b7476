"""What is served beside `/graphql`, and what a request leaves in the log."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app import http
from app.logging import RequestLog, configure
from app.settings import Environment, LogFormat, LogLevel, Settings


async def ready() -> str | None:
    return None


async def not_ready() -> str | None:
    return "the database does not answer"


def client(
    settings: Settings | None = None, *, check: http.ReadinessCheck = ready, host: str = "127.0.0.1"
) -> TestClient:
    routes = http.routes(settings or Settings(), check)
    return TestClient(
        RequestLog(Starlette(routes=routes)), base_url=f"http://{host}", client=("127.0.0.1", 1)
    )


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """What the process logs, as JSON."""
    written = io.TextIOWrapper(io.BytesIO(), write_through=True)
    monkeypatch.setattr(sys, "stderr", written)
    handlers = logging.getLogger().handlers[:]
    configure(LogFormat.JSON, LogLevel.INFO)
    yield lambda: written.buffer.getvalue().decode()
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers


def test_alive_and_ready_are_two_answers() -> None:
    with client(check=not_ready) as caller:
        assert caller.get("/healthz").json() == {"status": "ok"}
        answer = caller.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "the database does not answer")
    with client() as caller:
        assert caller.get("/readyz").json() == {"status": "ready"}


def test_metrics_are_served_for_prometheus() -> None:
    with client() as caller:
        answer = caller.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "process_resident_memory_bytes" in answer.text


def test_every_file_of_graphiql_comes_from_this_server() -> None:
    with client() as caller:
        page = caller.get("/graphiql")
        assert page.status_code == 200
        files = [part.split('"')[0] for part in page.text.replace('href="/', 'src="/').split('src="')[1:]]
        assert len(files) == 6
        for file in files:
            assert caller.get(file).status_code == 200, file
        assert "//" not in page.text.replace("</", "")
        assert "default-src 'self'" in page.headers["content-security-policy"]


def test_graphiql_carries_a_token_only_for_a_browser_on_this_machine_that_asked_for_this_machine() -> None:
    settings = Settings(development_secret=SecretStr("s" * 40))

    def token(caller: TestClient) -> object:
        text = caller.get("/graphiql").text
        return json.loads(text.split('id="settings">')[1].split("</script>")[0])["token"]

    with client(settings) as here:
        assert str(token(here)).count(".") == 2
    with client(settings, host="elsewhere.example") as rebound:
        assert token(rebound) is None
    with client(Settings()) as without_secret:
        assert token(without_secret) is None


def test_production_has_no_graphiql() -> None:
    with client(Settings(environment=Environment.PRODUCTION)) as caller:
        assert caller.get("/graphiql").status_code == 404
        assert caller.get("/static/graphiql.js").status_code == 404
        assert "/graphiql" not in caller.get("/").text


@pytest.mark.parametrize(
    ("given", "kept"), [("order-17.a:b_c", True), ("x" * 129, False), ("a b", False), ("<script>", False)]
)
def test_a_plain_request_id_is_kept_and_any_other_replaced(given: str, kept: bool) -> None:
    with client() as caller:
        echoed = caller.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"]
    assert (echoed == given) is kept
    assert kept or len(echoed) == 32


def test_a_request_leaves_one_line_with_its_id_and_without_its_secrets(log: Callable[[], str]) -> None:
    with client() as caller:
        caller.get(
            "/healthz?token=hunter2", headers={"x-request-id": "r1", "authorization": "Bearer hunter2"}
        )
    (line,) = [json.loads(line) for line in log().splitlines() if '"request"' in line]
    assert {name: line[name] for name in ("event", "method", "path", "status", "request_id", "level")} == {
        "event": "request", "method": "GET", "path": "/healthz", "status": 200, "request_id": "r1", "level": "info",
    }  # fmt: skip
    assert "hunter2" not in log()


def test_whatever_logs_within_a_request_carries_its_id(log: Callable[[], str]) -> None:
    async def endpoint(_: Request) -> JSONResponse:
        structlog.get_logger("ours").info("hello", password="hunter2", url="postgresql://me:hunter2@db/oms")
        logging.getLogger("theirs").warning("careful")
        return JSONResponse({})

    with TestClient(RequestLog(Starlette(routes=[Route("/", endpoint)]))) as caller:
        caller.get("/", headers={"x-request-id": "r2"})
    lines = [json.loads(line) for line in log().splitlines()]
    assert {line["event"]: line["request_id"] for line in lines if line["event"] in {"hello", "careful"}} == {
        "hello": "r2", "careful": "r2",
    }  # fmt: skip
    assert "hunter2" not in log()


def test_a_failing_request_is_logged_with_its_cause(log: Callable[[], str]) -> None:
    async def endpoint(_: Request) -> JSONResponse:
        raise RuntimeError("broken on purpose")

    with TestClient(
        RequestLog(Starlette(routes=[Route("/", endpoint)])), raise_server_exceptions=False
    ) as caller:
        assert caller.get("/").status_code == 500
    assert '"status":500' in log()
