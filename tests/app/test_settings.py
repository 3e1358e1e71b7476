"""Settings: one documented table, and a sentence for each that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import settings
from app.settings import Environment, SettingsError, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(settings.variable(name), raising=False)


def test_the_documented_table_is_what_the_code_says() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text.split("<!-- settings: oms settings --markdown -->\n")[1].split("\n<!-- end of settings -->")[
        0
    ]
    assert table == settings.documentation()


def test_every_setting_has_a_meaning_and_says_what_to_write() -> None:
    for name, field in settings.Settings.model_fields.items():
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict)
        assert field.json_schema_extra["write"], name


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("OMS_PORT", "99999", "OMS_PORT is '99999': write a port from 1 to 65535, such as 8000."),
        ("OMS_PORT", "http", "OMS_PORT is 'http': write a port from 1 to 65535, such as 8000."),
        ("OMS_LOG_FORMAT", "xml", "OMS_LOG_FORMAT is 'xml': write console or json."),
        ("OMS_POOL_SIZE", "0", "OMS_POOL_SIZE is '0': write a number from 1 to 200."),
        ("OMS_JWT_ISSUER", "https://login.example.com/", "OMS_JWT_ISSUER, OMS_JWT_AUDIENCE, OMS_JWT_JWKS_URL "
         "go together: write OMS_JWT_AUDIENCE and OMS_JWT_JWKS_URL as well, or none."),
        ("OMS_BROADCAST_URL", "kafka://broker:9092", "OMS_BROADCAST_URL cannot be Kafka: its client waits for ever for "
         "a topic that is not there, and cannot tell that from silence. Wake-ups need no log: write redis://host:6379 "
         "or postgresql://user:password@host/database instead."),
        ("OMS_LIVE_QUEUE_EVENTS", "1", "OMS_LIVE_QUEUE_EVENTS is '1': write a whole number from 2 to 10000."),
        ("OMS_DATABSE_URL", "x", "OMS_DATABSE_URL is not a setting: write OMS_DATABASE_URL."),
        ("OMS_WINGS", "2", "OMS_WINGS is not a setting: `oms settings` lists those there are."),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_with_a_sentence_that_says_what_to_write(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refusal:
        settings.load()
    assert str(refusal.value) == sentence


def test_a_wrong_address_or_secret_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_DATABASE_URL", "mysql://me:hunter2@db/oms")
    monkeypatch.setenv("OMS_DEVELOPMENT_SECRET", "hunter2")
    with pytest.raises(SettingsError) as refusal:
        settings.load()
    assert "hunter2" not in str(refusal.value)
    assert "OMS_DATABASE_URL is not valid: write an address such as postgresql://" in str(refusal.value)
    assert "OMS_DEVELOPMENT_SECRET is not valid: write at least 32 characters" in str(refusal.value)


def test_development_tokens_are_refused_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_ENVIRONMENT", "production")
    monkeypatch.setenv("OMS_DEVELOPMENT_SECRET", "x" * 32)
    with pytest.raises(SettingsError, match="remove it in production"):
        settings.load()


def test_a_command_s_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMS_PORT", "9000")
    assert settings.load().port == 9000
    assert settings.load(port=9001).port == 9001
    assert settings.load(port=None).port == 9000


def test_a_file_env_in_the_working_directory_is_read_and_its_names_are_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("OMS_PORT=9002\n")
    assert settings.load().port == 9002
    (tmp_path / ".env").write_text("OMS_PROT=9002\n")
    with pytest.raises(SettingsError, match="OMS_PROT is not a setting: write OMS_PORT"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("OMS_GUEST_LINK_SECRET", "change-me-" * 4, "OMS_GUEST_LINK_SECRET looks like an example"),
        ("OMS_GUEST_LINK_SECRET", "a" * 40, "OMS_GUEST_LINK_SECRET looks like an example"),
        ("OMS_DATABASE_URL", "postgresql://oms:oms@db/oms", "holds the password of compose.yaml"),
        ("OMS_DEVELOPMENT_SECRET", "x" * 40, "OMS_DEVELOPMENT_SECRET signs tokens for anybody"),
    ],
)
def test_production_refuses_secrets_that_everybody_knows(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    load(environment=Environment.DEVELOPMENT)
    with pytest.raises(SettingsError, match=sentence):
        load(environment=Environment.PRODUCTION)
