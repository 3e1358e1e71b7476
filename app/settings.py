"""What can be set, from the environment (`OMS_PORT=9000`) or a file `.env`; one table of all of it.

Every setting says what it means, in which unit, and what to write when it is
wrong. `docs/operations.md` carries the table that `documentation()` makes.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from dotenv import dotenv_values
from pydantic import AfterValidator, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.live.settings import LiveSettings
from app.setting import extra_of, setting

PREFIX = "OMS_"
ROOT = Path(__file__).resolve().parents[1]
"""The checkout, or the directory that holds the installed packages."""

ENV_FILES = (ROOT / ".env", Path(".env"))
"""Of the checkout and of the working directory; the second wins, the environment wins over both."""

NOT_OURS = re.compile(r"OMS_TEST_\w+")
"""Variables of the test suite, read by `tests/conftest.py` alone."""


class SettingsError(Exception):
    """A setting is wrong; the message says which and what to write instead, a sentence a line."""


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


def _postgresql_address(value: SecretStr) -> SecretStr:
    if not re.match(r"(postgres|postgresql|postgresql\+asyncpg)://\S+", value.get_secret_value()):
        raise ValueError("not an address of PostgreSQL")
    return value


def _broadcast_address(value: SecretStr) -> SecretStr:
    address = value.get_secret_value()
    if address.startswith("kafka"):
        raise SettingsError(
            "OMS_BROADCAST_URL cannot be Kafka: its client waits for ever for a topic that is not there, and cannot "
            "tell that from silence. Wake-ups need no log: write redis://host:6379 or "
            "postgresql://user:password@host/database instead."
        )
    if address != "memory://" and not re.match(r"(postgres|postgresql|redis|rediss)://\S+", address):
        raise ValueError("not an address of a broker")
    return value


def _redis_address(value: SecretStr) -> SecretStr:
    if not re.match(r"rediss?://\S+", value.get_secret_value()):
        raise ValueError("not an address of Redis")
    return value


def _https_address(value: str) -> str:
    if not re.match(r"https://\S+|http://(localhost|127\.0\.0\.1|\[::1\])[:/]\S*", value):
        raise ValueError("not an https address")
    return value


PostgresqlAddress = Annotated[SecretStr, AfterValidator(_postgresql_address)]
BroadcastAddress = Annotated[SecretStr, AfterValidator(_broadcast_address)]
ThrottleAddress = Annotated[SecretStr, AfterValidator(_redis_address)]
HttpsAddress = Annotated[str, AfterValidator(_https_address)]


class Settings(LiveSettings, BaseSettings):
    """The settings in force. Names here in lower case are variables `OMS_` + upper case."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILES,
        env_ignore_empty=True,
        extra="ignore",  # unknown names are refused by `load`, which can suggest the right one
        frozen=True,
        hide_input_in_errors=True,
    )

    environment: Environment = setting(
        Environment.DEVELOPMENT,
        "What this runs for. In `production` GraphiQL, introspection and development tokens are off, "
        "and callers are known by tokens of `OMS_JWT_ISSUER`.",
        write="development or production",
    )
    host: str = setting(
        "127.0.0.1",
        "The address to serve on; `0.0.0.0` for every interface.",
        write="an address of this machine, such as 127.0.0.1",
        min_length=1,
    )
    port: int = setting(
        8000,
        "The TCP port to serve on.",
        write="a port from 1 to 65535, such as 8000",
        ge=1,
        le=65_535,
    )
    database_url: PostgresqlAddress | None = setting(
        None,
        "A PostgreSQL of yours, 15 to 18. Without it the embedded one of the data directory is started.",
        write="an address such as postgresql://user:password@host:5432/database",
        shown="the embedded PostgreSQL",
    )
    database_read_url: PostgresqlAddress | None = setting(
        None,
        "A streaming replica that queries may be sent to.",
        write="an address such as postgresql://user:password@replica:5432/database",
        shown="`OMS_DATABASE_URL`",
    )
    data_dir: Path = setting(
        (ROOT if (ROOT / "pyproject.toml").exists() else Path()) / ".oms" / "data",
        "Where the embedded PostgreSQL keeps its data.",
        write="a directory on a local disk",
        shown="`.oms/data` in the checkout, else in the working directory",
    )
    postgres_bin: Path | None = setting(
        None,
        "The directory of PostgreSQL's programs to use for the embedded one, for backup and for restore.",
        write="a directory such as /usr/lib/postgresql/18/bin",
        shown="the packaged ones, else the system's newest",
    )
    pool_size: int = setting(
        10,
        "Database connections for writing, and as many for reading, in each server process.",
        write="a number from 1 to 200",
        unit="connections",
        ge=1,
        le=200,
    )
    broadcast_url: BroadcastAddress | None = setting(
        None,
        "What wakes the other processes' subscriptions: `memory://` (one process only), `postgresql://…` "
        "or `redis://…`. It carries wake-ups, never events: without it they come 250 ms later, none is lost.",
        write="memory://, or an address such as redis://host:6379 or postgresql://user:password@host/database",
        shown="`OMS_DATABASE_URL`",
    )
    log_format: LogFormat = setting(
        LogFormat.CONSOLE, "How log lines look: for people or for machines.", write="console or json"
    )
    log_level: LogLevel = setting(
        LogLevel.INFO, "The least severe line that is written.", write="debug, info, warning or error"
    )
    development_secret: SecretStr | None = setting(
        None,
        "What development tokens are signed with. `oms up` makes one for its data directory and sets it; "
        "refused in production.",
        write="at least 32 characters, and only in development",
        min_length=32,
    )
    jwt_issuer: str | None = setting(
        None,
        "The issuer (`iss`) whose tokens are accepted.",
        write="the issuer exactly as its tokens name it, such as https://login.example.com/",
        min_length=1,
    )
    jwt_audience: str | None = setting(
        None,
        "The audience (`aud`) that a token must name.",
        write="the audience exactly as the tokens name it, such as maestro-oms",
        min_length=1,
    )
    jwt_jwks_url: HttpsAddress | None = setting(
        None,
        "Where the issuer publishes its keys.",
        write="an https address such as https://login.example.com/.well-known/jwks.json",
    )
    jwt_kind_claim: str = setting(
        "kind",
        "The claim that says whether the caller is STAFF, PARTNER, CUSTOMER or GUEST. As those below, a claim's "
        "name or a path with dots (`app_metadata.kind`).",
        write="the name of a claim, such as kind",
        min_length=1,
    )
    jwt_scope_claim: str = setting(
        "scope",
        "The claim of the scopes: a text with spaces, or a list. What is not a scope of ours is passed over.",
        write="the name of a claim, such as scope or realm_access.roles",
        min_length=1,
    )
    jwt_channels_claim: str = setting(
        "channels",
        'The claim of the channels that bound the caller, by id. A PARTNER that is not bounded says `"*"`.',
        write="the name of a claim, such as channels",
        min_length=1,
    )
    jwt_locations_claim: str = setting(
        "locations",
        "The claim of the locations that bound the caller, likewise.",
        write="the name of a claim, such as locations",
        min_length=1,
    )
    jwt_customer_claim: str = setting(
        "customer",
        "The claim of the customer that a CUSTOMER is, by id.",
        write="the name of a claim, such as customer",
        min_length=1,
    )
    jwt_company_claim: str = setting(
        "company",
        "The claim of the company whose orders a CUSTOMER may see too, by id.",
        write="the name of a claim, such as company",
        min_length=1,
    )
    guest_link_secret: SecretStr | None = setting(
        None,
        "What portal links (`orderGuestTokenCreate`) are signed with; without it there are none, but under "
        "`oms up`.",
        write="at least 32 random characters, such as `openssl rand -hex 32` prints",
        min_length=32,
    )
    guest_link_secret_previous: SecretStr | None = setting(
        None,
        "The one before it, while links that it has signed are to be accepted.",
        write="at least 32 characters, or nothing",
        min_length=32,
    )
    allowed_origins: str = setting(
        "",
        "The web origins, beside this server's own, whose pages may open sockets: separated by commas.",
        write="origins such as https://portal.example.com,https://desk.example.com",
        pattern=r"^$|^https?://[^/,\s]+(\s*,\s*https?://[^/,\s]+)*$",
    )
    body_limit_bytes: int = setting(
        1_048_576,
        "The largest request body; a larger one is answered 413.",
        write="a number from 1024 to 67108864",
        unit="bytes",
        ge=1024,
        le=67_108_864,
    )
    idempotency_retention_days: int = setting(
        7,
        "How long an idempotency key is remembered; after that the same key is a new call.",
        write="a whole number from 7 to 3650",
        unit="days",
        ge=7,
        le=3650,
    )
    event_retention_days: int | None = setting(
        None,
        "How long cursors of subscriptions and of `events` are good for. What only an older cursor leads to, "
        "changes of stock levels, is deleted then; timelines stay.",
        write="a whole number from 1 to 3650",
        unit="days",
        shown="for ever",
        ge=1,
        le=3650,
    )
    trusted_documents: Path | None = setting(
        None,
        "A JSON file from document id to document. With it only these operations are executed, named by "
        "`documentId` or by `extensions.persistedQuery`.",
        write="the path of a JSON file that this process may read",
        shown="any document is executed",
    )
    throttle_points: int | None = setting(
        None,
        "How many cost points one caller may spend at once; 0 for no bound. An operation's cost is in its "
        "`extensions.cost`.",
        write="a number from 0 to 1000000000",
        unit="points",
        shown="100000 in production, no bound in development",
        ge=0,
        le=1_000_000_000,
    )
    throttle_restore: int = setting(
        10_000,
        "How many of these points come back each second.",
        write="a number from 1 to 1000000000",
        unit="points a second",
        ge=1,
        le=1_000_000_000,
    )
    throttle_url: ThrottleAddress | None = setting(
        None,
        "A Redis in which servers share what callers have spent; without it each counts for itself.",
        write="an address such as redis://host:6379",
        shown="`OMS_BROADCAST_URL`, if that is a Redis",
    )
    execution_timeout_seconds: float = setting(
        10.0,
        "How long one GraphQL operation may take, and each of its statements; then the answer is TIMEOUT.",
        write="a number from 0.1 to 300",
        unit="seconds",
        ge=0.1,
        le=300,
    )
    shutdown_timeout_seconds: int = setting(
        20,
        "How long requests in flight may take after SIGTERM before they are cut.",
        write="a whole number from 1 to 600",
        unit="seconds",
        ge=1,
        le=600,
    )
    token_limit: int = setting(
        4_000, "The most lexical tokens in a document.", write="a number of at least 1", unit="tokens", ge=1
    )
    depth_limit: int = setting(
        15,
        "The deepest nesting of fields in an operation.",
        write="a number of at least 1",
        unit="levels",
        ge=1,
    )
    alias_limit: int = setting(
        50, "The most aliases in an operation.", write="a number of at least 1", unit="aliases", ge=1
    )
    root_field_limit: int = setting(
        20, "The most root fields in an operation.", write="a number of at least 1", unit="fields", ge=1
    )
    directive_limit: int = setting(
        50, "The most directives in an operation.", write="a number of at least 1", unit="directives", ge=1
    )
    cost_limit: int = setting(
        10_000,
        "The highest cost of an operation: its fields, times the sizes of the lists around them.",
        write="a number of at least 1",
        unit="points",
        ge=1,
    )

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.environment is Environment.PRODUCTION and self.development_secret:
            raise SettingsError(
                "OMS_DEVELOPMENT_SECRET signs tokens for anybody who knows it: remove it in production."
            )
        if self.environment is Environment.PRODUCTION:
            self._refuse_what_everybody_knows()
        if self.trusted_documents is not None and not self.trusted_documents.is_file():
            raise SettingsError(
                f"OMS_TRUSTED_DOCUMENTS names {str(self.trusted_documents)!r}, which is no file: write the path "
                "of a JSON file that this process may read."
            )
        identity = {
            "OMS_JWT_ISSUER": self.jwt_issuer,
            "OMS_JWT_AUDIENCE": self.jwt_audience,
            "OMS_JWT_JWKS_URL": self.jwt_jwks_url,
        }
        missing = [name for name, value in identity.items() if not value]
        if missing and len(missing) < len(identity):
            raise SettingsError(
                f"{', '.join(identity)} go together: write {' and '.join(missing)} as well, or none."
            )
        return self

    def _refuse_what_everybody_knows(self) -> None:
        """Production does not start with secrets that stand in examples."""
        for name in ("guest_link_secret", "guest_link_secret_previous"):
            secret: SecretStr | None = getattr(self, name)
            if secret is not None and _is_placeholder(secret.get_secret_value()):
                raise SettingsError(
                    f"{variable(name)} looks like an example, not like a secret: write at least 32 random "
                    "characters, such as `openssl rand -hex 32` prints."
                )
        for name in ("database_url", "database_read_url"):
            address: SecretStr | None = getattr(self, name)
            if address is not None and "://oms:oms@" in address.get_secret_value():
                raise SettingsError(
                    f"{variable(name)} holds the password of compose.yaml, which everybody knows: "
                    "give the database one of its own."
                )


def _is_placeholder(secret: str) -> bool:
    few = len(set(secret)) < 10
    return few or re.search(r"change.?me|example|development|placeholder|password", secret, re.I) is not None


def load(**overrides: Any) -> Settings:
    """The settings from the environment and `.env`; `overrides` are a command's options.

    Raises SettingsError with a sentence for each that is wrong.
    """
    names = set(os.environ)
    for path in ENV_FILES:
        names.update(dotenv_values(path))
    _refuse_unknown({name.upper() for name in names})
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(dict.fromkeys(map(_sentence, error.errors())))) from error


def _sentence(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0])
    extra = extra_of(Settings.model_fields[name])
    given = os.environ.get(variable(name))
    # An address may hold a password and a secret is one: neither belongs in a terminal or a log.
    is_public = given is not None and "SecretStr" not in repr(Settings.model_fields[name].annotation)
    return f"{variable(name)} is {repr(given) if is_public else 'not valid'}: write {extra['write']}."


def _refuse_unknown(names: Collection[str]) -> None:
    known = [name.upper() for name in Settings.model_fields]
    unknown = [
        name
        for name in sorted(names)
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in known and not NOT_OURS.fullmatch(name)
    ]
    sentences = []
    for name in unknown:
        near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.75)
        instead = f"write {PREFIX}{near[0]}" if near else "`oms settings` lists those there are"
        sentences.append(f"{name} is not a setting: {instead}.")
    if sentences:
        raise SettingsError("\n".join(sentences))


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


@cache
def rows() -> tuple[tuple[str, str, str, str], ...]:
    """Every setting as (variable, default, unit, meaning), in Markdown."""
    described = []
    # Those of the live path come by inheritance, and last.
    for name, field in sorted(Settings.model_fields.items(), key=lambda each: each[0].startswith("live_")):
        extra = extra_of(field)
        default = extra["shown"] or ("" if field.default is None else f"`{field.default}`")
        described.append((variable(name), default, extra["unit"], field.description or ""))
    return tuple(described)


def documentation() -> str:
    """The table of all settings, in Markdown, as `docs/operations.md` holds it."""
    lines = ["| variable | default | unit | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {default} | {unit} | {meaning} |".replace("|  |", "| |")
        for name, default, unit, meaning in rows()
    ]
    return "\n".join(lines)
