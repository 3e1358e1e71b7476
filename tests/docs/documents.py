"""What the documents show: their blocks, their links, and answers that leave out what differs each time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_KEEP = re.compile(r"^# keep: (.+)$", re.MULTILINE)
_NAME = re.compile(r"^(?:query|mutation|subscription) (\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, the words after it, its text, and where it begins."""

    path: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        """For a test's message."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def markdown_files() -> list[Path]:
    """Every document of the repository."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks_of(path: Path, text: str | None = None) -> list[Block]:
    """The fenced blocks of a document, from the top."""
    content = path.read_text() if text is None else text
    return [
        Block(
            path=path,
            line=content.count("\n", 0, found.start()) + 1,
            language=found[1],
            words=tuple(found[2].split()),
            text=found[3],
        )
        for found in _FENCE.finditer(content)
    ]


def links_of(path: Path) -> Iterator[tuple[str, str]]:
    """The relative links of a document outside its code: the file, and the anchor or an empty text."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", path.read_text()))
    for target in _LINK.findall(prose):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors_of(path: Path) -> set[str]:
    """What GitHub calls the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def operation_name(document: str) -> str:
    """The name of the document's first operation."""
    found = _NAME.search(document)
    return found[1] if found else ""


def kept_by(document: str) -> dict[str, list[str]]:
    """What later operations need of the answer: `# keep: order = orderPlace.order.id` by name, as a path."""
    found = _KEEP.search(document)
    if found is None:
        return {}
    pairs = (part.split("=") for part in found[1].split(","))
    return {name.strip(): path.strip().split(".") for name, path in pairs}


def look_up(answer: Any, path: list[str]) -> Any:
    """What stands at the path; numbers are places in lists."""
    for step in path:
        answer = answer[int(step)] if isinstance(answer, list) else answer[step]
    return answer


def filled(variables: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """The variables with what was kept where the document shows "ord_…"."""
    return {
        name: kept[name] if isinstance(value, str) and "…" in value else value
        for name, value in variables.items()
    }


def shape(answer: Any) -> Any:
    """The answer's names and kinds of values, without the values."""
    if isinstance(answer, dict):
        return {name: shape(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [shape(one) for one in answer]
    return type(answer).__name__


def agrees(shown: Any, answer: Any) -> bool:
    """Whether the answer is the one shown; "…" in a text that is shown stands for anything."""
    if isinstance(shown, dict):
        return (
            isinstance(answer, dict)
            and shown.keys() == answer.keys()
            and all(agrees(value, answer[name]) for name, value in shown.items())
        )
    if isinstance(shown, list):
        return (
            isinstance(answer, list)
            and len(shown) == len(answer)
            and all(agrees(one, other) for one, other in zip(shown, answer, strict=True))
        )
    if isinstance(shown, str) and "…" in shown:
        pattern = ".*".join(re.escape(part) for part in shown.split("…"))
        return isinstance(answer, str) and re.fullmatch(pattern, answer, re.DOTALL) is not None
    return bool(shown == answer)
