"""Callers for development: the signing secret of a data directory, and tokens for who is in its database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from app.auth import customer, development_token, guest, partner, staff
from db.channels import Channel
from db.customers import Customer
from db.engine import normalise_url
from db.locations import Location
from db.orders import Order
from domain.access import Principal
from domain.ids import Prefix, split_id
from domain.orders import ChannelKind

SECRET_FILE = "development.secret"  # noqa: S105 - a file's name


class UnknownCallerError(Exception):
    """The token is for somebody who is not in the database; the message says who."""


def secret_of(directory: Path) -> str:
    """The secret that signs a data directory's development tokens; made when it is first asked for."""
    path = directory / SECRET_FILE
    directory.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        secret = secrets.token_urlsafe(48)
        file.write(secret + "\n")
    return secret


def token_for(secret: str, caller: Principal) -> str:
    """A token that servers with the same secret accept for 30 days."""
    return development_token(secret, caller)


async def example_callers(url: str) -> dict[str, Principal]:
    """Staff, a partner and a customer who see something of what is in the database.

    The partner is bound to the first marketplace, the customer is the one of the newest
    order; where there is none, the partner sees all and there is no customer.
    """
    async with _connected(url) as connection:
        channel = await connection.scalar(
            sa.select(Channel.id)
            .where(Channel.kind == ChannelKind.MARKETPLACE)
            .order_by(Channel.code)
            .limit(1)
        )
        buyer = await connection.scalar(
            sa.select(Order.customer_id)
            .where(Order.customer_id.is_not(None))
            .order_by(Order.id.desc())
            .limit(1)
        ) or await connection.scalar(sa.select(Customer.id).order_by(Customer.id).limit(1))
    callers = {"staff": staff()}
    callers["partner"] = partner("partner:development", channels=None if channel is None else (channel,))
    if buyer is not None:
        callers["customer"] = customer(buyer)
    return callers


async def find_partner(url: str, channels: list[str], locations: list[str]) -> Principal:
    """A partner bound to these channels and locations, named by code or id; to none given: unbound."""
    async with _connected(url) as connection:
        channel_ids = [
            await _one(connection, Channel, Channel.code, Prefix.CHANNEL, name) for name in channels
        ]
        location_ids = [
            await _one(connection, Location, Location.code, Prefix.LOCATION, name) for name in locations
        ]
    return partner(
        "partner:" + ("+".join([*channels, *locations]) or "development"),
        channels=tuple(channel_ids) or None,
        locations=tuple(location_ids) or None,
    )


async def find_customer(url: str, name: str | None) -> Principal:
    """The customer with this id or e-mail address; the one of the newest order when none is named."""
    if name is None:
        caller = (await example_callers(url)).get("customer")
        if caller is None:
            raise UnknownCallerError("There is no customer in the database yet.")
        return caller
    async with _connected(url) as connection:
        found = await _one(connection, Customer, Customer.email, Prefix.CUSTOMER, name)
    return customer(found)


async def find_guest(url: str, order: str) -> Principal:
    """The bearer of a portal link to this order, named by id or number."""
    async with _connected(url) as connection:
        found = await _one(connection, Order, Order.number, Prefix.ORDER, order)
    return guest(found)


async def _one(
    connection: AsyncConnection,
    table: type[Channel | Location | Customer | Order],
    natural: sa.orm.InstrumentedAttribute[str] | sa.orm.InstrumentedAttribute[str | None],
    prefix: Prefix,
    name: str,
) -> UUID:
    parts = split_id(name)
    condition = table.id == parts[1] if parts and parts[0] is prefix else natural == name
    found = await connection.scalar(sa.select(table.id).where(condition).order_by(table.id).limit(1))
    if found is None:
        noun = table.__name__.lower()
        raise UnknownCallerError(
            f"There is no {noun} {name!r} in the database: name one by {natural.key} or by id."
        )
    return found


def _connected(url: str) -> AsyncConnection:
    return create_async_engine(normalise_url(url), poolclass=NullPool).connect()
