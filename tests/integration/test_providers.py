"""Kafka as providers run it: with less rights, other topics and other logins."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourceType
from confluent_kafka.admin import ResourcePatternType as Pattern
from managed_broker import REFUSED, ManagedBroker, managed_broker
from readings import wootric_for
from secured import grant
from stack import Stack
from test_doctor import doctor, served
from test_service import identify
from test_startup import run
from waiting import STILL_S, stretched, until

from stream.kafka.topic_creation import create
from stream.kafka.topics import inspect

WINDOW_S = 15 * 86_400
"""Longer than 6 days and the 7 days of a segment, which is Kafka's default."""

ALLOW = AclPermissionType.ALLOW
LASTS_S = 8
RENEWALS = 2
"""Clients share a token for half of its time: after two renewals the first one has expired."""
SIGNER = Path(__file__).parents[1] / "fixtures" / "signer"

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def managed() -> Iterator[ManagedBroker]:
    with managed_broker() as broker:
        yield broker


@pytest.fixture
async def cloud(managed: ManagedBroker, tmp_path: Path) -> AsyncIterator[Stack]:
    """Without topics."""
    async with wootric_for(tmp_path.name) as wootric:
        stack = Stack(managed.own, wootric, tmp_path, forks=False)
        stack.settings["KAFKA__DEDUPE_WINDOW_S"] = str(WINDOW_S)
        yield stack
        stack.end()


async def test_topics_are_created_without_the_settings_that_the_cluster_refuses(
    cloud: Stack,
) -> None:
    """It is said of each, with what follows, and all other settings are there."""
    done = run("topics", "create", "--partitions", "3", "--yes", env=cloud.environment("w1"))
    assert done.returncode == 0, done
    said = done.stdout.decode()
    for role in ("input", "ledger"):
        assert f"{role}: created without {REFUSED}: the cluster refuses it (" in said
    assert "one of the settings is not permitted); records are kept longer" in said
    assert said.count("created without") == 2
    done = run("topics", "check", "--json", env=cloud.environment("w1"))
    found = json.loads(done.stdout)
    assert (found["ok"], found["least_dedupe_window_s"]) == (True, 14 * 86_400)


async def test_records_that_would_outlive_their_receipts_are_refused_in_the_end(
    cloud: Stack,
) -> None:
    """A window that is not longer than the cluster's segments fits no retention."""
    cloud.create_topics()
    *_, last = inspect(cloud.config, dedupe_window_s=7 * 86_400)[0]
    assert (last.topic, last.ok) == (cloud.config.topic, False)
    assert "Ways out: (1) shorten the input" in last.text


async def test_a_ledger_that_a_broker_made_by_itself_is_named_as_such(cloud: Stack) -> None:
    """Whoever asks for a topic that was deleted by mistake has it made again, as any topic."""
    create(cloud.config, partitions=6, replication_factor=1, dedupe_window_s=WINDOW_S)
    name = cloud.config.ledger_topic
    cloud.admin.delete_topics([name])[name].result()
    maker = Producer({"bootstrap.servers": cloud.bootstrap_servers})
    maker.produce(name, b"value")
    assert maker.flush(STILL_S) == 0
    *_, last = inspect(cloud.config, dedupe_window_s=WINDOW_S)[0]
    assert (last.topic, last.ok) == (name, False)
    assert "like a topic that a broker has created automatically" in last.text


def everything(kind: ResourceType, prefix: str) -> AclBinding:
    return AclBinding(kind, prefix, Pattern.PREFIXED, "User:worker", "*", AclOperation.ALL, ALLOW)


class TokenEndpoint(BaseHTTPRequestHandler):
    """Gives tokens to one client (RFC 6749, client credentials)."""

    def do_POST(self) -> None:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415  see SIGNER

        given = self.headers["Authorization"].removeprefix("Basic ")
        assert base64.b64decode(given) == b"a-client:a-secret-of-tests"
        token, _ = MSKAuthTokenProvider.generate_auth_token("none")
        body = json.dumps({"access_token": token, "token_type": "bearer", "expires_in": 300})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


async def test_oidc_takes_client_and_secret_as_any_login(
    cloud: Stack, managed: ManagedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the settings for user name and password, which may be in files."""
    monkeypatch.syspath_prepend(SIGNER)
    monkeypatch.setenv("SIGNER_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("SIGNER_LASTS_S", "300")
    grant(managed.own, [everything(ResourceType.TOPIC, cloud.config.topic)])
    create(cloud.config, partitions=3, replication_factor=1, dedupe_window_s=WINDOW_S)
    server = HTTPServer(("127.0.0.1", 0), TokenEndpoint)
    (tmp_path / "secret").write_text("a-secret-of-tests")
    for running in served(server):
        oidc = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": f"http://127.0.0.1:{running.server_port}/",
        }
        environment = {
            **cloud.environment("w1"),
            "KAFKA__BOOTSTRAP_SERVERS": managed.users,
            "KAFKA__PROPERTIES": json.dumps(oidc),
            "KAFKA__SASL_USERNAME": "a-client",
            "KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "secret"),
        }
        done = await asyncio.to_thread(run, "topics", "check", "--json", env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"]


async def test_msk_by_iam_with_tokens_that_are_renewed(
    cloud: Stack, managed: ManagedBroker, tmp_path: Path
) -> None:
    """Each client logs in by a token; the worker outlives many, and has no right to see limits."""
    name, log = cloud.config.group_id, tmp_path / "signer.log"
    kinds = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
    grant(managed.own, [everything(kind, name) for kind in kinds])
    cloud.settings |= {
        "KAFKA__BOOTSTRAP_SERVERS": managed.users,
        "KAFKA__AUTH": "aws_msk_iam",
        "KAFKA__AWS_REGION": "eu-west-1",
        "KAFKA__PROPERTIES": '{"security.protocol":"SASL_PLAINTEXT"}',
        "PYTHONPATH": str(SIGNER),
        "SIGNER_LOG": str(log),
        "SIGNER_LASTS_S": stretched(LASTS_S),
    }
    environment = cloud.environment("w1")
    done = await asyncio.to_thread(
        run, "topics", "create", "--partitions", "3", "--yes", env=environment
    )
    assert done.returncode == 0, done
    code, found = await asyncio.to_thread(doctor, environment)
    assert (code, found["kafka limits"][0]["state"]) == (0, "warn"), found
    worker = cloud.worker()
    worker.start()
    cloud.publish([identify(1, "m1")])
    await cloud.until_caught_up()

    def signed() -> int:
        return log.read_text().count("eu-west-1\n")

    enough = signed() + RENEWALS
    await until(lambda: signed() >= enough, "tokens are renewed", signed)
    cloud.publish([identify(2, "m2")])
    await cloud.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    assert len(cloud.wootric.state.end_users) == 2
    assert "broker_limits_unknown" in worker.said()
    assert not {"rejoining_group", "kafka_token_failed"} & worker.said()
