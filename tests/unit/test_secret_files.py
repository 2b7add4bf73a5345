"""Secrets in files: what is taken, what is refused, and that nothing is quoted."""

import json
from pathlib import Path

import pytest

from stream import settings_loader
from stream.errors import StartupError
from stream.secret_files import with_files
from stream.settings_loader import SettingsReloader

SECRETS = ("WOOTRIC__CLIENT_SECRET", "KAFKA__PROPERTIES")
NEEDED = {
    "KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
    "WOOTRIC__ACCOUNT_TOKEN": "NPS-0a1b2c3d",
    "WOOTRIC__CLIENT_ID": "a-client",
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(" hunter2 \r\n")
    return file


def given(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    for name in settings_loader.variables():
        monkeypatch.delenv(name, raising=False)
    for name, value in {**NEEDED, **more}.items():
        monkeypatch.setenv(name, value)


def test_a_file_is_as_good_as_the_environment(monkeypatch, secret, tmp_path):
    """But for what is around it: blanks and the end of its line."""
    properties = tmp_path / "properties.json"
    properties.write_text('{"sasl.username": "u", "sasl.password": "p"}\n')
    given(
        monkeypatch,
        WOOTRIC__CLIENT_SECRET_FILE=str(secret),
        kafka__properties_file=str(properties),
    )
    loaded = settings_loader.load()
    assert loaded.wootric.client_secret is not None
    assert loaded.wootric.client_secret.get_secret_value() == "hunter2"
    assert loaded.kafka.login == ("u", "p")
    assert settings_loader.in_files()


AROUND = ("{}\n", "{}\r\n", " \t{} ", "\ufeff{}", "\ufeff {}\n\n", "{}\u00a0", "\u200b{}")
"""What editors, shells, secret managers and web pages leave around a value."""


@pytest.mark.parametrize("around", AROUND)
def test_what_is_around_a_value_is_no_part_of_it(monkeypatch, tmp_path, around):
    """From the environment and from a file alike, for secrets of every section."""
    file = tmp_path / "password"
    file.write_text(around.format("hunter2"), encoding="utf-8")
    login = '{"sasl.username": %s, "sasl.password": %s, "client.rack": " a "}'
    texts = (json.dumps(around.format(text)) for text in ("u", "p"))
    given(
        monkeypatch,
        WOOTRIC__ACCOUNT_TOKEN=around.format("NPS-EU-0a1b2c3d"),
        WOOTRIC__CLIENT_SECRET=around.format("s e"),
        SCHEMA_REGISTRY__USERNAME=around.format("key"),
        SCHEMA_REGISTRY__PASSWORD_FILE=around.format(str(file)),
        BRIDGE__SHARED_SECRET=around.format("a shared secret!"),
        KAFKA__PROPERTIES=around.format(login % tuple(texts)),
    )
    loaded = settings_loader.load()
    wootric, registry = loaded.wootric, loaded.schema_registry
    assert wootric.account_token.get_secret_value() == "NPS-EU-0a1b2c3d"
    assert wootric.client_secret is not None
    assert wootric.client_secret.get_secret_value() == "s e"
    assert registry.username == "key"
    assert registry.password is not None
    assert registry.password.get_secret_value() == "hunter2"
    assert loaded.kafka.login == ("u", "p")
    assert loaded.kafka.properties["client.rack"] == " a "
    assert settings_loader.shared_secrets(settings_loader.load_bridge().bridge) == [
        b"a shared secret!"
    ]


@pytest.mark.parametrize("token", ["NPS-4aeb53c1", "NPS-EU-4aeb53c1", "NPS-AU-4aeb53c1"])
def test_an_account_token_of_each_region_is_one(monkeypatch, token):
    given(monkeypatch, WOOTRIC__CLIENT_SECRET="s", WOOTRIC__ACCOUNT_TOKEN=token)
    assert settings_loader.load().wootric.account_token.get_secret_value() == token


@pytest.mark.parametrize(
    "token",
    ["hunter2", "NPS-", "nps-4aeb53c1", "NPS-US-4aeb53c1", '"NPS-4aeb53c1"', "NPS-4aeb 3c1"],
)
@pytest.mark.parametrize("load", [settings_loader.load, settings_loader.load_wootric])
def test_what_cannot_be_an_account_token_is_refused(monkeypatch, load, token):
    """The pixel takes any: with a wrong one page views are lost and nobody notices."""
    given(monkeypatch, WOOTRIC__CLIENT_SECRET="s", WOOTRIC__ACCOUNT_TOKEN=token)
    with pytest.raises(StartupError) as caught:
        load()
    assert "WOOTRIC__ACCOUNT_TOKEN: does not look like NPS-" in str(caught.value)
    assert f"text of {len(token)} characters" in str(caught.value)
    assert not any(part in str(caught.value) for part in ("hunter2", "4aeb"))
    assert caught.value.exit_code == 78


def test_a_name_with_a_byte_order_mark_is_named(monkeypatch):
    """A file of variables that begins with one: the first would be no setting, without a word."""
    given(monkeypatch, WOOTRIC__CLIENT_SECRET="s", **{"\ufeffKAFKA__GROUP_ID": "g"})
    with pytest.raises(StartupError, match="did you mean KAFKA__GROUP_ID"):
        settings_loader.load()


def test_what_is_wrong_names_the_setting_and_quotes_nothing(monkeypatch, secret, tmp_path):
    """A file that is not there, one too many, a misspelt name, and no text."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    given(
        monkeypatch,
        WOOTRIC__CLIENT_SECRET_FILE=str(secret),
        WOOTRIC__CLIENT_SECRET="hunter2",
        WOOTRIC__PASSWORD_FILE="hunter2",
        WOOTRIC__USERNAME_FILE=str(binary),
        WOOTRIC__CLIENT_SECRT_FILE="hunter2",
    )
    with pytest.raises(StartupError) as caught:
        settings_loader.load()
    text = str(caught.value)
    assert "WOOTRIC__CLIENT_SECRET and WOOTRIC__CLIENT_SECRET_FILE are both set" in text
    assert "WOOTRIC__PASSWORD_FILE cannot be read: No such file" in text
    assert "WOOTRIC__USERNAME_FILE cannot be read: it is not text" in text
    assert "did you mean WOOTRIC__CLIENT_SECRET_FILE?" in text
    assert "hunter2" not in text


def test_a_login_for_kafka_is_whole(monkeypatch):
    given(monkeypatch, WOOTRIC__CLIENT_SECRET="s", KAFKA__SASL_PASSWORD="hunter2")
    with pytest.raises(StartupError, match="KAFKA__SASL_USERNAME") as caught:
        settings_loader.load()
    assert "hunter2" not in str(caught.value)


def test_an_empty_variable_leaves_the_file_alone(secret):
    found, problems = with_files(
        {"WOOTRIC__CLIENT_SECRET": "", "WOOTRIC__CLIENT_SECRET_FILE": str(secret)}, SECRETS
    )
    assert (found["WOOTRIC__CLIENT_SECRET"], problems) == ("hunter2", [])


def test_what_cannot_be_read_for_a_moment_changes_nothing():
    """A secret that is deleted too early must not end what works."""
    now, answers = [0.0], ["first", "second"]

    def read() -> str:
        if not answers:
            raise StartupError("gone", exit_code=78)
        return answers.pop(0)

    value = SettingsReloader(read, first="start", every_s=5.0, clock=lambda: now[0])
    seen = []
    for now[0] in (1.0, 5.0, 9.0, 10.0, 15.0, 20.0):
        seen.append(value())
    assert seen == ["start", "first", "first", "second", "second", "second"]
