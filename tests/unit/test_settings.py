"""Settings: everything that is missing or wrong is named at once, and each problem once."""

import pytest

from stream import settings_loader
from stream.errors import InvalidSettingsError


def problems(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    """What the loader finds in an environment that has these settings only."""
    for name in settings_loader.variables():
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettingsError) as caught:
        settings_loader.load()
    assert caught.value.exit_code == 78
    return list(caught.value.problems)


def beginnings(found: list[str]) -> list[str]:
    return [problem.split()[0].rstrip(":") for problem in found]


def test_with_nothing_set_all_that_is_required_is_named(monkeypatch):
    found = problems(monkeypatch)
    expected = ["KAFKA__BOOTSTRAP_SERVERS", "WOOTRIC__ACCOUNT_TOKEN", "credentials"]
    assert beginnings(found) == expected


def test_wrong_values_and_broken_rules_are_named_with_what_is_missing(monkeypatch):
    """Rules between settings too, although some of the settings are not valid."""
    found = problems(
        monkeypatch,
        KAFKA__PROPERTIES="{1",
        KAFKA__SASL_USERNAME="a",
        WOOTRIC__LEASE_S="0.1",
        WOOTRIC__REQUEST_TIMEOUT_S="soon",
        SCHEMA_REGISTRY__URL="registry",
        LOG__LEVEL="loud",
    )
    assert beginnings(found) == [
        "KAFKA__PROPERTIES",
        "KAFKA__BOOTSTRAP_SERVERS",
        "WOOTRIC__ACCOUNT_TOKEN",
        "WOOTRIC__REQUEST_TIMEOUT_S",
        "SCHEMA_REGISTRY__URL",
        "LOG__LEVEL",
        "set",
        "credentials",
        "WOOTRIC__LEASE_S",
    ]
    assert "'DEBUG', 'INFO', 'WARNING' or 'ERROR'" in " ".join(found)


@pytest.mark.parametrize(
    ("misspelt", "meant", "left"),
    [
        ("WOOTRIC__ACOUNT_TOKEN", "WOOTRIC__ACCOUNT_TOKEN", "KAFKA__BOOTSTRAP_SERVERS"),
        ("KAFKA__BOOTSTRAP_SERVER", "KAFKA__BOOTSTRAP_SERVERS", "WOOTRIC__ACCOUNT_TOKEN"),
        ("LOG__LEVL", "LOG__LEVEL", "KAFKA__BOOTSTRAP_SERVERS WOOTRIC__ACCOUNT_TOKEN"),
    ],
)
def test_a_misspelt_setting_is_named_once(monkeypatch, misspelt, meant, left):
    """And is not missing besides."""
    first, *others = problems(monkeypatch, **{misspelt: "x"})
    assert first == f"{misspelt} is not a setting; did you mean {meant}?"
    assert beginnings(others) == [*left.split(), "credentials"]


def test_of_a_pair_the_misspelt_half_is_not_asked_for(monkeypatch):
    given = {"WOOTRIC__CLIENT_ID": "a", "WOOTRIC__CLIENT_SECRT": "b"}
    found = problems(monkeypatch, **given)
    assert "credentials" not in beginnings(found)


def test_the_webhook_names_its_secret_with_the_rest(monkeypatch):
    for name in settings_loader.variables():
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InvalidSettingsError) as caught:
        settings_loader.load_webhook()
    expected = ["KAFKA__BOOTSTRAP_SERVERS", "BRIDGE__SHARED_SECRET"]
    assert beginnings(list(caught.value.problems)) == expected
