"""The doctor: what is right, what is not, and how to fix it; against the real things."""

import asyncio
import json
import re
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import acls
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from readings import wootric_for
from stack import Stack, free_port
from test_service import identify
from test_startup import run
from yarl import URL

from stream.devtools.local_kafka import LocalBroker
from stream.doctor import kafka as checks
from stream.doctor.network import Address, check_address, check_encryption, check_url
from stream.doctor.result import CheckStatus
from stream.runtime.worker import kafka_config
from stream.settings import KafkaSettings

in_thread = asyncio.to_thread

SECRETS = ("a-secret-of-tests", "wrong-secret", "of-the-worker")


def doctor(environment: dict[str, str], *flags: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Run it; return its exit code and the findings by check."""
    done = run("doctor", "--json", *flags, env=environment)
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    said = (done.stdout + done.stderr).decode()
    assert not any(secret in said for secret in SECRETS)
    found: dict[str, list[dict[str, str]]] = {}
    for one in document["findings"]:
        assert one["fix"] or one["state"] == "ok"
        found.setdefault(one["check"], []).append(one)
    return done.returncode, found


async def test_all_is_well(stack: Stack) -> None:
    """Every check is made, and none of them changes anything at Wootric."""
    code, found = await in_thread(doctor, stack.environment("w1"))
    assert (code, [one for many in found.values() for one in many if one["state"] == "fail"]) == (
        0,
        [],
    )
    assert set(found) == {
        "settings",
        "kafka dns",
        "kafka tcp",
        "kafka login",
        "kafka topics",
        "kafka limits",
        "kafka transactions",
        "kafka group",
        "wootric api dns",
        "wootric api tcp",
        "wootric pixel dns",
        "wootric pixel tcp",
        "wootric token",
        "wootric look-up",
        "clock",
    } | ({"kafka rights"} & set(found))
    assert len(found["kafka topics"]) == 4
    assert not stack.wootric.state.page_views
    assert not stack.wootric.state.end_users


@pytest.mark.parametrize(
    ("changes", "code", "check", "says"),
    [
        ({"KAFKA__GRUOP_ID": "x"}, 78, "settings", "did you mean KAFKA__GROUP_ID?"),
        ({"KAFKA__BOOTSTRAP_SERVERS": "kafka.invalid:9"}, 69, "kafka dns", "has no address"),
        ({"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}, 69, "kafka tcp", "accepts no connection"),
        ({"KAFKA__TOPIC": "nowhere"}, 78, "kafka topics", "missing"),
        ({"KAFKA__PROPERTIES": '{"sasl.mecanism":"PLAIN"}'}, 78, "kafka client", "sasl.mecanism"),
        ({"KAFKA__PROPERTIES": '{"socket.timeout.ms":60000}'}, 78, "kafka client", "10100 or less"),
        ({"WOOTRIC__ACCOUNT_TOKEN": "garbage"}, 78, "settings", "WOOTRIC__ACCOUNT_TOKEN: does not"),
        ({"KAFKA__SESSION_TIMEOUT_S": "2"}, 78, "kafka limits", "KAFKA__SESSION_TIMEOUT_S"),
        ({"WOOTRIC__API_URL": "http://127.0.0.1:1"}, 69, "wootric api tcp", "no connection"),
        ({"WOOTRIC__API_URL": "https://{wootric}"}, 69, "wootric api tls", "certificate"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_each_failure_has_its_code(
    stack: Stack, changes: dict[str, str], code: int, check: str, says: str
) -> None:
    host = stack.wootric.url.removeprefix("http://")
    given = {name: value.replace("{wootric}", host) for name, value in changes.items()}
    got, found = await in_thread(doctor, {**stack.environment("w1"), **given})
    failures = [one for one in found[check] if one["state"] == "fail"]
    assert says in failures[0]["text"]
    assert got == code


class WithoutTransactions:
    """A producer of a cluster whose brokers have no transactions."""

    def __init__(self, config: dict[str, object]) -> None:
        assert config["transactional.id"]

    def init_transactions(self, _: float) -> None:
        raise KafkaException(KafkaError(KafkaError._UNSUPPORTED_FEATURE, "not supported"))


def test_brokers_without_transactions_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "Producer", WithoutTransactions)
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:1", instance_id="w1")
    (found,) = checks._transactions(kafka_config(settings))
    assert (found.state, found.text) == (CheckStatus.FAIL, "not supported")
    assert found.exit_code == 78
    assert "2.5" in found.fix


async def test_credentials_that_wootric_refuses_are_a_matter_of_permission(stack: Stack) -> None:
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"client_secret": "another"})
    wrong = {**stack.environment("w1"), "WOOTRIC__CLIENT_SECRET": "wrong-secret"}
    code, found = await in_thread(doctor, wrong)
    assert code == 77
    assert "WOOTRIC__CLIENT_SECRET" in found["wootric token"][0]["fix"]


@pytest.mark.parametrize(
    ("changes", "code", "check", "state"),
    [
        ({"WOOTRIC__API_URL": "http://127.0.0.1:1"}, 0, "wootric api tcp", "warn"),
        ({"WOOTRIC__CLIENT_SECRET": "wrong-secret"}, 77, "wootric token", "fail"),
        ({"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}, 69, "kafka tcp", "fail"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_an_outage_that_is_waited_out_need_not_fail(
    stack: Stack, changes: dict[str, str], code: int, check: str, state: str
) -> None:
    """So that an upgrade, of which the doctor is the preflight, does not wait for Wootric."""
    secret = stack.environment("w1")["WOOTRIC__CLIENT_SECRET"]
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"client_secret": secret})
    given = {**stack.environment("w1"), **changes}
    got, found = await in_thread(doctor, given, "--tolerate-outages")
    assert (got, found[check][0]["state"]) == (code, state)


async def test_the_bridge_has_its_own_needs(stack: Stack) -> None:
    """None of Wootric's settings, but a shared secret and a topic."""
    own = {n: v for n, v in stack.environment("b1").items() if not n.startswith("WOOTRIC__")}
    code, found = await in_thread(doctor, own, "--bridge")
    assert (code, "BRIDGE__SHARED_SECRET" in found["settings"][0]["text"]) == (78, True)
    own["BRIDGE__SHARED_SECRET"] = SECRETS[0]
    code, found = await in_thread(doctor, own, "--bridge")
    assert (code, len(found["kafka topics"])) == (0, 1)
    code, found = await in_thread(doctor, {**own, "KAFKA__TOPIC": "nowhere"}, "--bridge")
    assert (code, found["kafka topics"][0]["state"]) == (78, "fail")
    worker = {**stack.environment("w1"), "BRIDGE__PORT": "eight"}
    code, found = await in_thread(doctor, worker)
    assert (code, "BRIDGE__PORT" in found["settings"][0]["text"]) == (78, True)


class _Late(BaseHTTPRequestHandler):
    """Gives a token and an empty list; its clock is an hour behind."""

    def do_POST(self) -> None:
        self._answer(b'{"access_token": "t", "expires_in": 7200}')

    def do_GET(self) -> None:
        self._answer(b"[]")

    def _answer(self, body: bytes) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) - 3600)

    def log_message(self, *_: object) -> None:
        pass


def served(server: HTTPServer) -> Iterator[HTTPServer]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def late() -> Iterator[HTTPServer]:
    yield from served(HTTPServer(("127.0.0.1", 0), _Late))


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[HTTPServer, Path]]:
    """HTTPS with a certificate of its own that ends in five days."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-days", "5", *subject, *made], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", 0), _Late)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    for running in served(server):
        yield running, certificate


async def test_a_clock_that_is_off_is_noticed(stack: Stack, late: HTTPServer) -> None:
    """A warning fails nothing."""
    url = f"http://127.0.0.1:{late.server_port}"
    began_at = time.monotonic()
    code, found = await in_thread(doctor, {**stack.environment("w1"), "WOOTRIC__API_URL": url})
    assert code == 0
    assert found["clock"][0]["state"] == "warn"
    says = re.search(r"(\d+) s behind", found["clock"][0]["text"])
    assert says
    assert abs(int(says[1]) - 3600) <= 1 + time.monotonic() - began_at


def test_a_certificate_that_ends_soon_or_is_not_trusted_is_told_of(
    secure: tuple[HTTPServer, Path],
) -> None:
    server, certificate = secure
    address = Address("localhost", server.server_port)
    trusted = {"ssl.ca.location": str(certificate)}
    *_, soon = check_address("kafka", address, tls=True, properties=trusted)
    assert (soon.state, soon.check) == (CheckStatus.WARN, "kafka tls")
    assert "expires in 5 days" in soon.text
    *_, unknown = check_address("kafka", address, tls=True, properties={})
    assert (unknown.state, unknown.exit_code) == (CheckStatus.FAIL, 69)
    assert "self-signed" in unknown.text


def test_a_proxy_is_checked_in_place_of_what_is_behind_it(
    late: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:wrong-secret@127.0.0.1:{late.server_port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    first, *others = check_url("wootric api", URL("https://api.wootric.test"))
    assert first.text == f"api.wootric.test is reached through http://127.0.0.1:{late.server_port}"
    assert [one.check for one in others] == ["wootric api proxy dns", "wootric api proxy tcp"]
    assert all(one.state is CheckStatus.OK for one in (first, *others))
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:wrong-secret@127.0.0.1:1")
    (wrong,) = check_url("wootric api", URL("https://api.wootric.test"))
    assert (wrong.state, wrong.exit_code) == (CheckStatus.FAIL, 78)
    assert "wrong-secret" not in wrong.text


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({"security.protocol": "sasl_plaintext"}, "SASL_PLAINTEXT: the login"),
        ({"enable.ssl.certificate.verification": False}, "certificates are not verified"),
        ({"ssl.endpoint.identification.algorithm": "none"}, "the names in the brokers'"),
    ],
)
def test_what_others_can_read_is_told_of(properties: dict[str, object], says: str) -> None:
    """But not of this machine."""
    (found,) = check_encryption([Address("kafka", 9092)], properties)
    assert (found.state, says in found.text) == (CheckStatus.WARN, True)
    assert list(check_encryption([Address("127.0.0.1", 9092)], properties)) == []
    assert list(check_encryption([Address("kafka", 9092)], {})) == []


def test_a_url_without_tls_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    found = [one.text for one in check_url("wootric api", URL("http://gateway.test"))]
    assert "gateway.test is reached without TLS" in found[0]
    found = [one.text for one in check_url("wootric api", URL("http://127.0.0.1:1"))]
    assert not any("TLS" in text for text in found)


# Rights, on a Kafka that asks who one is


LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@pytest.fixture
def guarded() -> Iterator[tuple[LocalBroker, str]]:
    """A Kafka with a second listener, where the worker logs in and may do what it was granted."""
    plain, controller, port = free_port(), free_port(), free_port()
    open_to_all = f"PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{port}"
    with LocalBroker(
        port=plain,
        properties={
            "listeners": f"{open_to_all},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": open_to_all,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "SASL:SASL_PLAINTEXT",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": f'{LOGIN} user_worker="of-the-worker";',
        },
    ) as broker:
        yield broker, f"127.0.0.1:{port}"


def grant(admin: AdminClient, kind: ResourceType, name: str, *operations: AclOperation) -> None:
    """Allow the worker something; names of transactional ids are prefixes."""
    pattern = ResourcePatternType.LITERAL
    if kind is ResourceType.TRANSACTIONAL_ID:
        pattern = ResourcePatternType.PREFIXED
    bindings = [
        AclBinding(kind, name, pattern, "User:worker", "*", operation, AclPermissionType.ALLOW)
        for operation in operations
    ]
    acls.grant(admin, bindings)


@pytest.fixture
async def inside(
    guarded: tuple[LocalBroker, str], tmp_path: Path
) -> AsyncIterator[tuple[Stack, str]]:
    """A stack on it, and the address where the worker logs in."""
    broker, address = guarded
    async with wootric_for(tmp_path.name) as wootric:
        stack = Stack(broker.bootstrap_servers, wootric, tmp_path)
        await asyncio.to_thread(stack.create_topics)
        yield stack, address
        stack.end()


async def test_rights_that_are_missing_are_named_and_those_of_the_readme_suffice(
    inside: tuple[Stack, str],
) -> None:
    """Wrong password, no rights, some rights, all rights: and then a worker delivers."""
    stack, address = inside

    def environment(password: str) -> dict[str, str]:
        login = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "worker",
            "sasl.password": password,
        }
        return {
            **stack.environment("w1"),
            "KAFKA__BOOTSTRAP_SERVERS": address,
            "KAFKA__PROPERTIES": json.dumps(login),
        }

    code, found = await in_thread(doctor, environment("wrong-secret"))
    assert (code, found["kafka login"][0]["state"]) == (77, "fail")
    assert "sasl.password" in found["kafka login"][0]["fix"]
    code, found = await in_thread(doctor, environment("of-the-worker"))
    assert code == 77
    assert len([one for one in found["kafka rights"] if one["state"] == "fail"]) == 5
    config, admin = stack.config, stack.admin
    op = AclOperation
    topic, group, ids = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID
    reads = (op.READ, op.DESCRIBE, op.DESCRIBE_CONFIGS)
    writes = (op.WRITE, op.DESCRIBE, op.DESCRIBE_CONFIGS)
    grant(admin, topic, config.topic, *reads)
    grant(admin, topic, config.ledger_topic, *reads)
    code, found = await in_thread(doctor, environment("of-the-worker"))
    fixes = [one["fix"] for one in found["kafka rights"] if one["state"] == "fail"]
    assert f"grant write on topic {config.ledger_topic}" in fixes
    grant(admin, topic, config.ledger_topic, op.WRITE)
    grant(admin, topic, config.dead_letter_topic, *writes)
    grant(admin, topic, config.parked_topic, *writes)
    grant(admin, group, config.group_id, op.READ, op.DESCRIBE)
    code, found = await in_thread(doctor, environment("of-the-worker"))
    assert (code, found["kafka transactions"][0]["state"]) == (77, "fail")
    grant(admin, ids, f"{config.group_id}-", op.WRITE, op.DESCRIBE)
    code, found = await in_thread(doctor, environment("of-the-worker"))
    assert (code, found["kafka limits"][0]["state"]) == (0, "warn"), found
    grant(admin, ResourceType.BROKER, "kafka-cluster", op.DESCRIBE_CONFIGS)
    code, found = await in_thread(doctor, environment("of-the-worker"))
    assert (code, found["kafka limits"][0]["state"]) == (0, "ok"), found
    (lacking,) = (one for one in found["kafka rights"] if one["state"] == "warn")
    assert lacking["fix"] == f"grant describe on group {config.pause_group_id}"
    grant(admin, group, config.pause_group_id, op.DESCRIBE)
    code, found = await in_thread(doctor, environment("of-the-worker"))
    assert (code, {one["state"] for one in found["kafka rights"]}) == (0, {"ok"}), found
    worker = stack.worker("w1", **environment("of-the-worker"))
    worker.start()
    stack.publish([identify(1, "m1")])
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    assert len(stack.wootric.state.end_users) == 1
