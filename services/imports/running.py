"""Running an import: batch by batch, each in its own transaction, going on where a cut one stopped.

A batch's rows and the run's new position are committed together, so a record is
either imported or still to be read. A run of a file that was imported before
finds everything by external id and changes nothing. While the database writes a
batch, the next one is read, converted and made ready, and of orders most of it is
written already: only what the batch before can decide waits until that is committed.
"""

from __future__ import annotations

import asyncio
import csv
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from db.base import new_id
from db.channels import Channel
from db.engine import Engine, Session
from db.imports import ImportRun
from db.locations import Location
from db.products import PriceList
from domain.access import SYSTEM, Principal
from domain.channels import ServingLocation, UpsertChannel
from domain.errors import Refused
from domain.imports import ImportAction, ImportKind, ImportStatus, MapError, RecordOutcome
from domain.locations import UpsertLocation
from domain.orders import ChannelKind
from domain.prices import UpsertPriceList
from domain.stock import LocationKind
from services.channels import upsert_channel
from services.imports.customers import import_customers
from services.imports.mapping import ColumnMap, read_map
from services.imports.orders import import_orders, write_apart
from services.imports.outcomes import Target, rejected
from services.imports.products import import_products
from services.imports.reading import Record, Source
from services.imports.stock import import_stock
from services.imports.understanding import TURN, Understood, understand_orders
from services.locations import upsert_location
from services.prices import upsert_price_list
from services.unit_of_work import Key, UnitOfWork

BATCH = 500
"""Records of one transaction: enough for a few statements to do much, few enough to hold locks under half a second."""

WRITERS = 2
"""Batches that are being written at a time, of which the first only is committed."""

Importer = Callable[[Session, Target, Any], Awaitable[dict[int, RecordOutcome]]]

IMPORTERS: dict[ImportKind, Importer] = {
    ImportKind.CUSTOMERS: import_customers,
    ImportKind.PRODUCTS: import_products,
    ImportKind.STOCK: import_stock,
    ImportKind.ORDERS: import_orders,
}
"""What writes a batch, in its transaction: of records, or of what they were made ready as."""


@dataclass(slots=True)
class Progress:
    """How far a run has come, in records and in bytes of the file."""

    position: int = 0
    bytes_read: int = 0
    size: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    resumed_at: int = 0
    """Records that an earlier run of the same file, which was cut, had done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    run_id: UUID
    kind: ImportKind
    target: Target
    records: Sequence[Record]
    ready: Any
    """What its importer takes."""
    position: int
    bytes_read: int
    rejects: _Rejects
    before: asyncio.Task[None] | None
    """What writes the batch before."""
    apart: bool
    """Most of it can be written before that has ended."""


class RunInProgressError(Exception):
    """Another process imports the same file right now."""


async def run_import(
    engine: Engine,
    kind: ImportKind,
    path: Path,
    map_path: Path,
    *,
    rejects: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    batch_size: int = BATCH,
    actor: Principal = SYSTEM,
) -> Progress:
    """Import the file; rejected records go to `rejects` (default: beside the file) with their reasons.

    Raises MapError when the map or the file's heading is wrong: nothing has been
    imported then.
    """
    columns = read_map(map_path, kind)
    unit_of_work = UnitOfWork(engine)
    with Source(path, columns) as source:
        digest = source.digest()
        await unit_of_work.run(_make_what_is_missing, columns, actor=actor)
        run = await _begin(engine, kind, digest, path.name)
        progress = Progress(
            position=run.position,
            size=source.size,
            created=run.created,
            changed=run.changed,
            unchanged=run.unchanged,
            rejected=run.rejected,
            resumed_at=run.position,
        )
        rejected_file = rejects or path.with_suffix(".rejected.csv")
        file = _Rejects(rejected_file, source.heading, columns)
        async with engine.begin() as session:
            target = await _target(session, columns, actor)
        writing: deque[asyncio.Task[None]] = deque()

        async def write(batch: _Batch) -> None:
            key = Key(f"import:{run.id}:{batch.position}", digest.encode())
            _count(progress, await unit_of_work.run(_import_batch, batch, actor=actor, key=key))
            progress.position = batch.position + len(batch.records)
            progress.bytes_read = batch.bytes_read
            on_progress(progress)

        position, before = run.position, None  # and what the batch before was made ready as
        try:
            for records in source.batches(run.position, batch_size):
                ready = await _ready(engine, kind, target, source, records)
                if len(writing) == WRITERS:
                    await writing[0]
                    writing.popleft()
                batch = _Batch(
                    run_id=run.id,
                    kind=kind,
                    target=target,
                    records=records,
                    ready=ready,
                    position=position,
                    bytes_read=source.bytes_read,
                    rejects=file,
                    before=writing[-1] if writing else None,
                    apart=_apart(ready, before),
                )
                position += len(records)
                before = ready
                writing.append(asyncio.create_task(write(batch)))
            for task in writing:
                await task
        finally:
            await asyncio.gather(*writing, return_exceptions=True)
        await _finish(engine, run.id)
    return progress


async def _ready(
    engine: Engine, kind: ImportKind, target: Target, source: Source, records: Sequence[Record]
) -> Sequence[Record] | Understood:
    """Convert the records; make orders of them where they are such."""
    for place, record in enumerate(records):
        if place % TURN == 0:
            await asyncio.sleep(0)  # what is being written meanwhile goes on
        source.convert(record)
    sound = [record for record in records if record.problem is None]
    if kind is not ImportKind.ORDERS:
        return sound
    async with engine.connect() as session:
        return await understand_orders(session, target, sound)


def _apart(ready: Sequence[Record] | Understood, before: Sequence[Record] | Understood | None) -> bool:
    return isinstance(ready, Understood) and isinstance(before, Understood) and ready.is_apart_from(before)


async def _begin(engine: Engine, kind: ImportKind, digest: str, file_name: str) -> Any:
    """The run of this file that was cut, else a new one."""
    table = ImportRun.metadata.tables["import_run"]
    async with engine.begin() as session:
        await session.execute(
            insert(table)
            .values(id=new_id(), kind=kind, digest=digest, file_name=file_name, status=ImportStatus.RUNNING)
            .on_conflict_do_nothing()
        )
        statement = sa.select(table).where(
            table.c.kind == kind, table.c.digest == digest, table.c.status == ImportStatus.RUNNING
        )
        return (await session.execute(statement)).one()


async def _finish(engine: Engine, run_id: UUID) -> None:
    async with engine.begin() as session:
        await session.execute(
            sa.update(ImportRun)
            .where(ImportRun.id == run_id)
            .values(status=ImportStatus.COMPLETED, finished_at=sa.func.now(), updated_at=sa.func.now())
        )


async def _import_batch(
    session: Session, batch: _Batch, /, *, actor: Principal, now: datetime
) -> tuple[int, ...]:
    """Import one batch and move the run's position; the outcome is how many records became what."""
    target, ready = replace(batch.target, now=now), batch.ready
    if batch.before is not None:
        if batch.apart:
            ready = await write_apart(session, target, ready)
        await asyncio.wait([batch.before])  # when it has failed, the run is not where this batch begins
    run = (
        await session.execute(
            sa.select(ImportRun.position, ImportRun.status, ImportRun.rejects_length)
            .where(ImportRun.id == batch.run_id)
            .with_for_update()
        )
    ).one()
    if run.position != batch.position or run.status is not ImportStatus.RUNNING:
        raise RunInProgressError
    outcomes = await IMPORTERS[batch.kind](session, target, ready)
    answers = [outcomes.get(record.number) or rejected(record.problem or "") for record in batch.records]
    # Before the commit: a run that is cut now cuts the file back, one cut later has them in it.
    length = batch.rejects.write(run.rejects_length, batch.records, answers)
    done = Counter(answer.action for answer in answers)
    await session.execute(
        sa.update(ImportRun)
        .where(ImportRun.id == batch.run_id)
        .values(
            position=ImportRun.position + len(batch.records),
            rejects_length=length,
            created=ImportRun.created + done[ImportAction.CREATED],
            changed=ImportRun.changed + done[ImportAction.CHANGED],
            unchanged=ImportRun.unchanged + done[ImportAction.UNCHANGED],
            rejected=ImportRun.rejected + done[ImportAction.REJECTED],
            updated_at=now,
        )
    )
    return tuple(done[action] for action in ImportAction)


def _count(progress: Progress, done: Sequence[int]) -> None:
    for action, records in zip(ImportAction, done, strict=True):
        name = action.lower()
        setattr(progress, name, getattr(progress, name) + records)


class _Rejects:
    """The file of rejected records: as they stood, with number and reason; made with the first of them."""

    def __init__(self, path: Path, heading: Sequence[str], columns: ColumnMap) -> None:
        self._path = path
        self._heading = heading
        self._format = columns.format

    def write(self, start: int, records: Sequence[Record], outcomes: Sequence[RecordOutcome]) -> int:
        """Write a batch's rejects from byte `start` on, over whatever a failed attempt left; the new length."""
        rows = [
            [str(record.number), outcome.reason, *record.cells]
            for record, outcome in zip(records, outcomes, strict=True)
            if outcome.action is ImportAction.REJECTED
        ]
        if not rows:
            return start
        self._path.touch()
        start = min(start, self._path.stat().st_size)  # it may have been taken away meanwhile
        with self._path.open(
            "r+",
            encoding=self._format.encoding.removesuffix("-sig"),
            errors="surrogateescape",
            newline="",
        ) as file:
            file.truncate(start)
            file.seek(start)
            writer = csv.writer(file, delimiter=self._format.delimiter)
            if not start:
                writer.writerow(["record", "reason", *self._heading])
            writer.writerows(rows)
        return self._path.stat().st_size


async def _make_what_is_missing(
    session: Session, columns: ColumnMap, /, *, actor: Principal, now: datetime
) -> None:
    """Make the channel, location and price list that the map names, unless they are there.

    What is there stays as it is: its own settings count, not the map's.
    """
    made = columns.made
    try:
        location_id = None
        if (location := made.get("location")) and not await _find(session, Location, location["code"]):
            location_id = await upsert_location(
                session,
                UpsertLocation(
                    code=location["code"],
                    name=location.get("name", location["code"]),
                    kind=LocationKind(location.get("kind", "WAREHOUSE")),
                    time_zone=location.get("time_zone", "UTC"),
                ),
                actor=actor,
                now=now,
            )
        elif location:
            location_id = await _find(session, Location, location["code"])
        if channel := made.get("channel"):
            await _make_channel(session, channel, location_id, actor, now)
        if (prices := made.get("price_list")) and not await _find(session, PriceList, prices["code"]):
            await upsert_price_list(
                session,
                UpsertPriceList(
                    code=prices["code"], name=prices.get("name", prices["code"]), currency=prices["currency"]
                ),
                actor=actor,
                now=now,
            )
    except Refused as refusal:
        raise MapError(f"what the map names cannot be made: {refusal}.") from refusal
    except (KeyError, ValueError) as error:
        raise MapError(f"what the map names cannot be made: {error} is missing or unknown.") from error


async def _make_channel(
    session: Session, channel: Any, location_id: UUID | None, actor: Principal, now: datetime
) -> None:
    if await _find(session, Channel, channel["code"]) is not None:
        return
    await upsert_channel(
        session,
        UpsertChannel(
            code=channel["code"],
            name=channel.get("name", channel["code"]),
            kind=ChannelKind(channel.get("kind", "ECOMMERCE")),
            currency=channel["currency"],
            locations=() if location_id is None else (ServingLocation(location_id=location_id),),
        ),
        actor=actor,
        now=now,
    )


async def _find(session: Session, table: type[Channel | Location | PriceList], code: str) -> UUID | None:
    found: UUID | None = await session.scalar(sa.select(table.id).where(table.code == code))
    return found


async def _target(session: Session, columns: ColumnMap, actor: Principal) -> Target:
    made = columns.made
    channel, location, prices = made.get("channel"), made.get("location"), made.get("price_list")
    table = Channel.metadata.tables["channel"]
    channels = sa.select(table).where(table.c.code == (channel or {}).get("code"))
    return Target(
        system=columns.system,
        actor=actor,
        now=await session.scalar(sa.select(sa.func.now())),
        channel=(await session.execute(channels)).one_or_none(),
        location_id=await _find(session, Location, location["code"]) if location else None,
        location_code=location["code"] if location else None,
        price_list_code=prices["code"] if prices else None,
        currency=columns.currency,
    )
