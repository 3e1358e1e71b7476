"""What the documents show works: operations, answers, links, commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLSchema, OperationDefinitionNode, build_schema, parse, validate
from graphql.execution.values import get_variable_values
from typer.core import TyperGroup
from typer.main import get_command

from app.auth import guest, staff
from app.cli import app as cli
from app.demo import load as load_demo
from app.http import examples
from domain.ids import parse_id
from tests.docs.documents import (
    ROOT,
    Block,
    agrees,
    anchors_of,
    blocks_of,
    filled,
    kept_by,
    links_of,
    look_up,
    markdown_files,
    operation_name,
    shape,
)
from tests.serving import Api, served

TOUR = ROOT / "docs" / "tour.md"
STAFF = staff()


@pytest.fixture(scope="module")
def served_schema() -> GraphQLSchema:
    """As committed; another test holds the committed text against the code."""
    return build_schema((ROOT / "schema" / "schema.graphql").read_text())


def shown_operations() -> list[Block]:
    return [
        block
        for path in markdown_files()
        for block in blocks_of(path)
        if block.language in ("graphql", "gql")
    ]


@pytest.mark.parametrize("block", shown_operations(), ids=lambda block: block.place)
def test_every_operation_in_the_documents_is_one_of_the_served_schema(
    block: Block, served_schema: GraphQLSchema
) -> None:
    assert validate(served_schema, parse(block.text)) == []


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.title)
def test_every_ready_operation_of_graphiql_is_one_of_the_served_schema(
    example: Any, served_schema: GraphQLSchema
) -> None:
    document = parse(example.query)
    assert validate(served_schema, document) == []
    (operation,) = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    coerced = get_variable_values(
        served_schema, operation.variable_definitions or (), json.loads(example.variables or "{}")
    )
    assert not isinstance(coerced, list), coerced


def test_every_step_of_the_tour_is_a_tab_of_graphiql() -> None:
    tabs = {operation_name(one.query): one for one in examples()}
    steps = [step for step in steps_of(TOUR) if step.block.language == "graphql"]
    for step in steps:
        assert bare(step.block.text) == bare(tabs[step.name].query), step.block.place
        assert step.variables == json.loads(tabs[step.name].variables or "{}"), step.block.place
    places = [list(tabs).index(step.name) for step in steps]
    looking = {list(tabs).index(name) for name in ("StockLedger", "Available")}  # at any time
    life = [place for place in places if place not in looking]
    assert life == sorted(life)


def bare(document: str) -> str:
    """Without comments and blank lines."""
    lines = document.splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))


def queries_in(shell: str) -> list[str]:
    """The documents that `curl` sends with -d."""
    return [json.loads(body)["query"] for body in re.findall(r"-d '(\{.*\})'", shell)]


def test_every_curl_in_the_documents_sends_an_operation_of_the_served_schema(
    served_schema: GraphQLSchema,
) -> None:
    shell = [(b, q) for p in markdown_files() for b in blocks_of(p) for q in queries_in(b.text)]
    assert shell
    for block, query in shell:
        assert validate(served_schema, parse(query)) == [], block.place


@dataclass(frozen=True, slots=True)
class Step:
    """An operation of the tour, its variables and the answer shown; or what the screen has seen."""

    block: Block
    variables: dict[str, Any]
    answer: Any

    @property
    def name(self) -> str:
        return operation_name(self.block.text)


def steps_of(path: Path) -> Iterator[Step]:
    """The document's operations and screens, from the top."""
    blocks = blocks_of(path)
    for number, block in enumerate(blocks):
        if block.words == ("seen",):
            yield Step(block, {}, None)
        if block.language != "graphql":
            continue
        told: dict[str, Any] = {"variables": {}, "answer": None}
        for following_block in blocks[number + 1 :]:
            if following_block.words not in (("variables",), ("answer",)):
                break
            told[following_block.words[0]] = json.loads(following_block.text)
        yield Step(block, **told)


class Player:
    """Runs operations as somebody at GraphiQL would: in order, copying ids from answers."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.kept: dict[str, Any] = {}
        self.keeping = {operation_name(one.query): kept_by(one.query) for one in examples()}

    async def play(
        self, document: str, variables: dict[str, Any], done: Callable[[dict[str, Any]], Any]
    ) -> dict[str, Any]:
        """One operation; a query is asked again until its answer is the one waited for, or for ten seconds."""
        given = filled(variables, self.kept)
        for _ in range(100):
            data = await self.api.data(STAFF, document, given)
            if not document.startswith("query") or done(data):
                break
            await asyncio.sleep(0.1)
        for kept, path in self.keeping[operation_name(document)].items():
            self.kept[kept] = look_up(data, path)
        return data


@contextlib.asynccontextmanager
async def following(
    api: Api, document: str, variables: dict[str, Any]
) -> AsyncIterator[list[dict[str, Any]]]:
    """What the customer of one order sees over server-sent events, as the tour's `curl` does."""
    seen: list[dict[str, Any]] = []
    caller = guest(parse_id(variables["order"]))

    async def listen() -> None:
        async with api.http.stream(
            "POST",
            "/graphql",
            json={"query": document, "variables": variables},
            headers={"authorization": f"Bearer {api.token(caller)}", "accept": "text/event-stream"},
        ) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    body = json.loads(line.removeprefix("data: "))
                    assert "errors" not in body, body
                    seen.append(body["data"]["orderEvents"])

    listening = asyncio.create_task(listen())
    try:
        yield seen
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


def statuses_of(seen: list[dict[str, Any]]) -> list[str]:
    """The order's own statuses among the events, in order."""
    return [one["toStatus"] for one in seen if one["subjectKind"] == "ORDER" and one["toStatus"]]


async def until_shown(seen: list[dict[str, Any]], statuses: list[str]) -> None:
    """Wait up to ten seconds for the screen to have shown these, and nothing else."""
    for _ in range(200):
        if statuses_of(seen) == statuses:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the screen shows {statuses_of(seen)}")


async def test_the_tour_gives_the_answers_that_it_shows(database_url: str) -> None:
    compared = 0
    async with served(database_url) as api, contextlib.AsyncExitStack() as screen:
        player = Player(api)
        seen: list[dict[str, Any]] = []
        for step in steps_of(TOUR):
            if step.block.words == ("seen",):
                await until_shown(seen, json.loads(step.block.text))
                continue
            if step.block.text.startswith("subscription"):
                given = filled(step.variables, player.kept)
                seen = await screen.enter_async_context(following(api, step.block.text, given))
                continue
            data = await player.play(step.block.text, step.variables, partial(agrees, step.answer))
            assert agrees(step.answer, data), f"{step.block.place} answers\n{json.dumps(data, indent=2)}"
            compared += 1
            if step.name == "PlaceOrder":  # "press ▶ again: the same order"
                again = await api.data(STAFF, step.block.text, filled(step.variables, player.kept))
                assert again["orderPlace"]["order"]["id"] == player.kept["order"]
    assert compared > 25


async def test_graphiqls_ready_operations_can_be_pressed_one_after_the_other(database_url: str) -> None:
    worth_waiting_for = {  # what the next tab needs is the work of a job
        "OrderNow": lambda data: data["order"]["fulfillmentOrders"],
        "WorkList": lambda data: data["fulfillmentOrders"]["nodes"],
        "Parcels": lambda data: data["shipments"]["nodes"][0]["order"]["paymentStatus"] == "PAID",
        "WaitsForMoney": lambda data: data["order"]["payments"][0]["status"] == "FAILED",
    }
    async with served(database_url) as api:
        player = Player(api)
        for example in examples():
            name, variables = operation_name(example.query), json.loads(example.variables or "{}")
            document = bare(example.query)
            if document.startswith("subscription"):
                assert "…" not in str(filled(variables, player.kept)), name
                continue
            data = await player.play(document, variables, worth_waiting_for.get(name, lambda _: True))
            for payload in data.values():
                if isinstance(payload, dict) and name != "TooMuch":
                    assert payload.get("userErrors", []) == [], (name, payload)


async def test_the_readme_shows_what_the_demo_data_answers(database_url: str) -> None:
    asked, shown = readmes_first_answer()
    await load_demo(database_url, "small", lambda *_: None)
    async with served(database_url, workers=False) as api:
        answer = await api.answer(STAFF, asked)
    assert shape(answer) == shape(shown)
    assert answer["extensions"] == shown["extensions"]


def readmes_first_answer() -> tuple[str, Any]:
    """The query of the README's first `curl`, and the answer under it."""
    blocks = blocks_of(ROOT / "README.md")
    number = next(n for n, block in enumerate(blocks) if block.language == "json")
    return queries_in(blocks[number - 1].text)[0], json.loads(blocks[number].text)


@pytest.mark.parametrize("path", markdown_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(path: Path) -> None:
    for file, anchor in links_of(path):
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name} links {file}"
        assert not anchor or anchor in anchors_of(target), f"{path.name} links {file}#{anchor}"


def test_every_oms_command_in_the_documents_exists_with_its_options() -> None:
    group = get_command(cli)
    assert isinstance(group, TyperGroup)
    commands = group.commands
    for path in markdown_files():
        for name, rest in re.findall(r"(?:^|[`(\s])(?:\./)?oms ([a-z]+)\b([^`\n|)]*)", path.read_text()):
            if name not in commands:
                assert not re.search(
                    rf"`(?:\./)?oms {name}|^\s*\./oms {name}", path.read_text(), re.MULTILINE
                ), f"{path.name} shows oms {name}"
                continue
            known = {option for parameter in commands[name].params for option in parameter.opts}
            for option in re.findall(r"(?<=\s)--[a-z-]+", rest.split("#")[0]):
                assert option in known or name == "test", f"{path.name} shows oms {name} {option}"


def test_the_readme_begins_with_the_two_commands() -> None:
    shell = [block.text for block in blocks_of(ROOT / "README.md") if block.language == "sh"]
    shown = "\n".join(shell)
    assert "./oms up" in shown
    assert "./oms test" in shown
    assert (ROOT / "oms").stat().st_mode & 0o111


def test_every_document_is_in_the_index() -> None:
    listed = {
        (ROOT / "docs" / file).resolve()
        for file, _ in links_of(ROOT / "docs" / "README.md")
        if file.endswith(".md")
    }
    guides = {path for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"}
    assert guides - listed == set()
