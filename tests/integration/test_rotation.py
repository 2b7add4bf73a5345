"""Secrets that are replaced while the service runs, as Kubernetes replaces those it mounts."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from readings import wootric_for
from segment import JSON, Bridge, bridge, sign, stringify
from stack import Stack, free_port
from test_service import identify
from waiting import SLOWNESS, until

from stream.devtools.local_kafka import LocalBroker

REAUTHENTICATED_MS = round(4_000 * SLOWNESS)
FIRST, SECOND = "first-secret", 'second"secret\\'
EVENTS = 40


class Mounted:
    """A secret as kubelet mounts it: a link that is turned to another folder at once."""

    def __init__(self, folder: Path, values: Mapping[str, str]) -> None:
        self._folder = folder
        self._versions = 0
        folder.mkdir()
        self.replace(values)
        for name in values:
            (folder / name).symlink_to(f"..data/{name}")

    def replace(self, values: Mapping[str, str]) -> None:
        self._versions += 1
        version = self._folder / f"..{self._versions}"
        version.mkdir()
        for name, value in values.items():
            (version / name).write_text(f"{value}\n")
        new = self._folder / "..new"
        new.symlink_to(version.name)
        os.replace(new, self._folder / "..data")  # noqa: PTH105  the link itself

    def __getitem__(self, name: str) -> str:
        return str(self._folder / name)


async def post(gate: Bridge, body: bytes, signature: str) -> int:
    """Return how the bridge answers."""
    headers = {**JSON, "X-Signature": signature}
    async with (
        aiohttp.ClientSession() as session,
        session.post(gate.url, data=body, headers=headers) as reply,
    ):
        return reply.status


@pytest.fixture
def guarded() -> Iterator[tuple[LocalBroker, str]]:
    """A Kafka with a second listener, where one logs in, and again every few seconds."""
    plain, controller, port = free_port(), free_port(), free_port()
    addresses = f"PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{port}"
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    with LocalBroker(
        port=plain,
        properties={
            "listeners": f"{addresses},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": addresses,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "SASL:SASL_PLAINTEXT",
            "listener.name.sasl.sasl.enabled.mechanisms": "SCRAM-SHA-256",
            "listener.name.sasl.scram-sha-256.sasl.jaas.config": login,
            "listener.name.sasl.scram-sha-256.connections.max.reauth.ms": str(REAUTHENTICATED_MS),
        },
    ) as broker:
        yield broker, f"127.0.0.1:{port}"


def set_password(admin: AdminClient, password: str) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    change = UserScramCredentialUpsertion("worker", info, password.encode())
    for answer in admin.alter_user_scram_credentials([change]).values():
        answer.result()


@pytest.fixture
async def inside(
    guarded: tuple[LocalBroker, str], tmp_path: Path
) -> AsyncIterator[tuple[Stack, str]]:
    """A stack on it, and the address where one logs in."""
    broker, address = guarded
    async with wootric_for(tmp_path.name) as wootric:
        stack = Stack(broker.bootstrap_servers, wootric, tmp_path)
        await asyncio.to_thread(stack.create_topics)
        yield stack, address
        stack.end()


async def test_rotated_secrets_are_taken_up_without_a_restart(
    inside: tuple[Stack, str], tmp_path: Path
) -> None:
    """Wootric's and Kafka's: both refuse the old ones before the new ones are there."""
    stack, address = inside
    wootric = stack.wootric
    set_password(stack.admin, FIRST)
    wootric.behaviour = wootric.behaviour.changed({"client_secret": FIRST})
    secret = Mounted(tmp_path / "secret", {"client-secret": FIRST, "kafka-password": FIRST})
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256"}
    worker = stack.worker(
        KAFKA__BOOTSTRAP_SERVERS=address,
        KAFKA__PROPERTIES=json.dumps(login),
        KAFKA__SASL_USERNAME="worker",
        KAFKA__SASL_PASSWORD_FILE=secret["kafka-password"],
        WOOTRIC__CLIENT_SECRET="",
        WOOTRIC__CLIENT_SECRET_FILE=secret["client-secret"],
    )
    worker.start()
    await asyncio.to_thread(stack.publish, [identify(n, f"m{n}") for n in range(EVENTS)])
    await stack.until_caught_up()
    wootric.behaviour = wootric.behaviour.changed({"client_secret": SECOND})
    wootric.revoke_tokens()
    more = [identify(n, f"m{n}") for n in range(EVENTS, 2 * EVENTS)]
    await asyncio.to_thread(stack.publish, more)
    await worker.until_logged('"circuit_opened"')
    set_password(stack.admin, SECOND)
    await worker.until_logged("SASL authentication error")
    secret.replace({"client-secret": SECOND, "kafka-password": SECOND})
    await stack.until_caught_up()
    assert len(wootric.state.end_users) == 2 * EVENTS
    assert not stack.read(stack.config.dead_letter_topic)
    metrics = await worker.metrics()
    circuits = [v for name, v in metrics.items() if name.startswith("wootric_sink_circuit_open{")]
    assert not any(circuits)
    assert await asyncio.to_thread(worker.stop) == 0
    events = [line["event"] for line in worker.logged()]
    assert {"credentials_refused", "credentials_accepted", "kafka_login_changed"} <= set(events)
    assert events.count("started") == 1
    assert FIRST not in worker.log.read_text()
    assert SECOND[:8] not in worker.log.read_text()


async def test_the_bridge_takes_a_rotated_secret_up_without_a_restart(
    stack: Stack, tmp_path: Path
) -> None:
    """The one before counts as long as the second file has it."""
    first, second = "first-secret-of-tests", "second-secret-of-tests"
    secret = Mounted(tmp_path / "secret", {"now": first, "before": "b" * 16})
    gate = bridge(
        stack,
        BRIDGE__SHARED_SECRET="",
        BRIDGE__SHARED_SECRET_FILE=secret["now"],
        BRIDGE__PREVIOUS_SECRET_FILE=secret["before"],
    )
    gate.start()
    await gate.until_ready()
    body = stringify({"type": "track", "messageId": "m1", "userId": "u1", "event": "e"})
    assert await post(gate, body, sign(body, first)) == 200
    assert await post(gate, body, sign(body, second)) == 401
    secret.replace({"now": second, "before": first})

    async def taken(secret: str) -> bool:
        return await post(gate, body, sign(body, secret)) == 200

    async def refused(secret: str) -> bool:
        return await post(gate, body, sign(body, secret)) == 401

    await until(lambda: taken(second), "the new secret counts")
    assert await post(gate, body, sign(body, first)) == 200
    secret.replace({"now": second, "before": second})
    await until(lambda: refused(first), "the old secret does not count any more")
    assert await asyncio.to_thread(gate.stop) == 0
