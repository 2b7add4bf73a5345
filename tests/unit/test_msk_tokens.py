"""Tokens for Amazon MSK: when there are none, and how long one is shared."""

import base64
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from stream.errors import StartupError
from stream.kafka.aws_msk_iam import msk_tokens
from stream.settings import KafkaSettings

LASTS_S = 900.0


class Signer(ModuleType):
    """Gives each caller a new token, unless it has no credentials."""

    def __init__(self) -> None:
        super().__init__("aws_msk_iam_sasl_signer")
        self.MSKAuthTokenProvider = self
        self.regions: list[str] = []
        self.has_credentials = True

    def generate_auth_token(self, region: str) -> tuple[str, int]:
        if not self.has_credentials:
            raise LookupError("AKIA0123456789")
        self.regions.append(region)
        return f"token {len(self.regions)}", round((time.time() + LASTS_S) * 1000)


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Signer:
    signer = Signer()
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", signer)
    return signer


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(StartupError, match=r"pip install 'wootric-stream\[aws\]'") as caught:
        msk_tokens("eu-west-1")
    assert caught.value.exit_code == 78


def test_without_credentials_it_is_said_at_once_and_no_detail_is_quoted(signer: Signer) -> None:
    signer.has_credentials = False
    with pytest.raises(StartupError, match=r"no token \(LookupError\)") as caught:
        msk_tokens("eu-west-1")
    assert caught.value.exit_code == 77
    assert "AKIA" not in str(caught.value)


def test_a_token_is_shared_for_half_of_its_time(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client asks again when a fifth of its token's time is left."""
    tokens = msk_tokens("eu-west-1")
    now = time.time()
    first = tokens()
    assert first[0] == "token 1"
    assert first[1] == pytest.approx(now + LASTS_S, abs=60)
    monkeypatch.setattr(time, "time", lambda: now + 0.49 * LASTS_S)
    assert tokens() == first
    monkeypatch.setattr(time, "time", lambda: now + 0.6 * LASTS_S)
    assert tokens()[0] == "token 2"
    assert signer.regions == ["eu-west-1"] * 2


def test_while_the_signer_fails_the_last_token_is_used_as_long_as_it_is_valid(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new client, as after an unknown commit, must not fail for an outage of AWS's tokens."""
    tokens, now = msk_tokens("eu-west-1"), time.time()
    first = tokens()
    signer.has_credentials = False
    with capture_logs() as logs:
        monkeypatch.setattr(time, "time", lambda: now + 0.8 * LASTS_S)
        assert tokens() == first
        monkeypatch.setattr(time, "time", lambda: now + LASTS_S)
        with pytest.raises(LookupError):
            tokens()
    signer.has_credentials = True
    assert tokens()[0] == "token 2"
    line = {"event": "kafka_token_failed", "log_level": "warning", "error": "LookupError"}
    assert logs == [line] * 2


@pytest.mark.parametrize(
    ("brokers", "given", "region"),
    [
        ("b-1.a.1b.c2.kafka.eu-west-1.amazonaws.com:9098", "", "eu-west-1"),
        ("boot-1a.c1.kafka-serverless.us-east-2.amazonaws.com:9098", "", "us-east-2"),
        ("kafka.internal:9098", "ap-south-1", "ap-south-1"),
    ],
)
def test_the_region_is_in_the_names_of_the_brokers(brokers: str, given: str, region: str) -> None:
    settings = KafkaSettings(bootstrap_servers=brokers, auth="aws_msk_iam", aws_region=given)
    assert settings.region == region


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "set KAFKA__AWS_REGION"),
        ({"aws_region": "a", "sasl_username": "u", "sasl_password": "p"}, "no user name"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        KafkaSettings(bootstrap_servers="kafka:9098", auth="aws_msk_iam", **changes)


@pytest.mark.slow
def test_awss_own_signer_as_locked_signs_for_the_brokers(tmp_path: Path) -> None:
    """The token is a signed URL, made without a request; the names of the signer are as assumed."""
    lock = Path(__file__).parents[2] / "requirements-aws.lock"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes"]
    subprocess.run([*install, "--target", tmp_path, "--requirement", lock], check=True)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "of-tests",
    }
    program = "from stream.kafka.aws_msk_iam import *; print(*msk_tokens('eu-west-1')())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=lock.parent,
        env=environment,
        capture_output=True,
        check=True,
    )
    token, expires_at = done.stdout.decode().split()
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    assert url.startswith("https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&")
    assert float(expires_at) - time.time() == pytest.approx(LASTS_S, abs=120)
