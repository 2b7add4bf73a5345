"""Eight incidents: the stack is in that state, the alert fires, the runbook is followed, it ends.

The rules are those that the chart renders, a minute being a second.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from confluent_kafka import Producer
from local_registry import LocalRegistry
from lone_kafka import lone_kafka
from on_call import release, steps, watched
from stack import Stack
from waiting import STILL_S, stretched, until

from stream.codec.avro import FOLDER, confluent_header
from stream.devtools.local_kafka import LocalBroker
from stream.devtools.wootric_emulator import Delay
from stream.kafka.producer import record_of
from tests.faults.oracle import agrees
from tests.integration.registry_gate import RegistryGate
from tests.operations.town import identify, response

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SESSION = {
    "KAFKA__SESSION_TIMEOUT_S": stretched(6),
    "KAFKA__TRANSACTION_TIMEOUT_S": stretched(4),
    "WOOTRIC__REQUEST_TIMEOUT_S": stretched(10),
}
EVENTS = 30
LATE_S = 400
"""More than 5 minutes."""
SLOW_S = 1.0
FIRST, SECOND = "a-first-secret", "a-second-secret"


async def publish(stack: Stack, first: int, message: str) -> None:
    """Publish profiles of end users who are counted from ``first``."""
    events = [identify(f"u{n}", f"{message}{n}") for n in range(first, first + EVENTS)]
    await asyncio.to_thread(stack.publish, events)


async def settled(stack: Stack) -> None:
    """Return once all is settled, however often the workers ended."""
    await stack.until_caught_up(may_end=range(-9, 79))


@pytest.mark.parametrize(
    ("recreated", "alert", "about"),
    [
        (False, "WootricCommitsMissing", "A ledger that was deleted"),
        (True, "WootricPartitionHalted", "`ledger_behind`"),
    ],
    ids=["deleted", "recreated by a hook"],
)
async def test_a_ledger_deleted_by_mistake(
    stack: Stack, tmp_path: Path, recreated: bool, alert: str, about: str
) -> None:
    """Nothing is sent until somebody accepts the loss, and then nothing that was sent before."""
    installed = release(stack, **SESSION)
    topic = stack.config.ledger_topic
    async with watched(installed, tmp_path) as pager:
        for first in (0, EVENTS):  # offsets tell what the ledger had before the last transaction
            await publish(stack, first, "before")
            await settled(stack)
        sent = len(stack.wootric.state.effects)
        stack.admin.delete_topics([topic], operation_timeout=20)[topic].result()
        if recreated:
            await asyncio.to_thread(stack.create_topics)
        await publish(stack, 2 * EVENTS, "meanwhile")
        await pager.until_fires(alert)
        assert len(stack.wootric.state.effects) == sent
        await installed.look(steps(alert, "First look"))
        await installed.do(steps(alert, "Fix", about))
        await settled(stack)
        await installed.do(steps(alert, "Verify"))
        await pager.until_ends(alert)
    assert len(stack.wootric.state.end_users) == 3 * EVENTS
    await agrees(stack)


async def test_the_dead_letter_topic_is_deleted(stack: Stack, tmp_path: Path) -> None:
    """Nothing is committed past the event that needs it; with a new topic, all follows."""
    installed = release(stack, **SESSION)
    topic, alert = stack.config.dead_letter_topic, "WootricCommitsMissing"
    async with watched(installed, tmp_path) as pager:
        await publish(stack, 0, "before")
        await settled(stack)
        stack.admin.delete_topics([topic], operation_timeout=20)[topic].result()
        await asyncio.to_thread(stack.publish, [response("u0", "refused", 11)])
        await publish(stack, EVENTS, "meanwhile")
        await pager.until_fires(alert)
        assert topic in await installed.look(steps(alert, "First look"))
        await installed.do(steps(alert, "Fix", "topic of dead letters"))
        await settled(stack)
        await installed.do(steps(alert, "Verify"))
        await pager.until_ends(alert)
    assert len(stack.wootric.state.end_users) == 2 * EVENTS
    assert len(await asyncio.to_thread(stack.read, topic)) == 1
    await agrees(stack)


@pytest.mark.parametrize("in_flight", [False, True], ids=["idle", "in flight"])
async def test_the_brokers_are_away(stack: Stack, tmp_path: Path, in_flight: bool) -> None:
    """Whoever is on call looks, and starts the brokers; the workers continue by themselves."""
    async with lone_kafka(stack, {}) as (kafka, own):
        await away_and_back(own, kafka, tmp_path, in_flight=in_flight)


async def away_and_back(
    stack: Stack, kafka: LocalBroker, tmp_path: Path, *, in_flight: bool
) -> None:
    alert = "WootricKafkaUnavailable"
    installed = release(stack, **SESSION)
    users, state = EVENTS, stack.wootric.state
    async with watched(installed, tmp_path) as pager:
        await publish(stack, 0, "before")
        await settled(stack)
        if in_flight:
            stack.wootric.on("POST", "*", Delay(after_s=SLOW_S), times=EVENTS)
            await publish(stack, users, "meanwhile")
            users += EVENTS
            await until(lambda: len(state.effects) > EVENTS, "requests are in flight")
        await asyncio.to_thread(kafka.stop)
        assert (await pager.until_fires(alert))["severity"] == "page"
        said = await installed.look(steps(alert, "First look"))
        assert "Kafka does not respond" in said
        await asyncio.to_thread(kafka.start)
        await publish(stack, users, "after")
        await settled(stack)
        await installed.do(steps(alert, "Verify"))
        await pager.until_ends(alert)
    assert len(state.end_users) == users + EVENTS
    await agrees(stack)


async def test_credentials_revoked_at_night(stack: Stack, tmp_path: Path) -> None:
    """The workers read the new secret by themselves and are not restarted."""
    secret = tmp_path / "client-secret"
    secret.write_text(FIRST)
    settings = {"WOOTRIC__CLIENT_SECRET": "", "WOOTRIC__CLIENT_SECRET_FILE": str(secret)}
    installed = release(stack, **SESSION, **settings)
    installed.write_secret = lambda: secret.write_text(SECOND)
    wootric = stack.wootric
    wootric.behaviour = wootric.behaviour.changed({"client_secret": FIRST})
    async with watched(installed, tmp_path) as pager:
        await publish(stack, 0, "before")
        await settled(stack)
        wootric.behaviour = wootric.behaviour.changed({"client_secret": SECOND})
        wootric.revoke_tokens()
        await publish(stack, EVENTS, "meanwhile")
        ticket = await pager.until_fires("WootricCredentialsRefused")
        assert ticket["error"] == "invalid_client"
        page = await pager.until_fires("WootricCircuitOpen")
        assert (page["severity"], page["circuit"], page["reason"]) == ("page", "api", "credentials")
        said = await installed.look(steps("WootricCircuitOpen", "First look"))
        assert "check WOOTRIC__CLIENT_ID and WOOTRIC__CLIENT_SECRET" in said
        await installed.do(steps("WootricCircuitOpen", "Fix", "`credentials`"))
        await settled(stack)
        await installed.do(steps("WootricCircuitOpen", "Verify"))
        await pager.until_ends("WootricCircuitOpen", "WootricCredentialsRefused")
    assert len(wootric.state.end_users) == 2 * EVENTS
    assert [line["event"] for line in installed.workers[0].logged()].count("started") == 1
    await agrees(stack)


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    """A real schema registry."""
    with LocalRegistry(say=lambda line: print(line, file=sys.stderr)) as registry:
        yield registry


def register(registry: LocalRegistry) -> int:
    """Register a schema with a field more than ours has; return its id."""
    ours = json.loads((FOLDER / "segment_event.avsc").read_text())
    more = {**ours, "fields": [*ours["fields"], {"name": "more", "type": "null", "default": None}]}
    request = Request(  # noqa: S310  our own registry
        f"{registry.url}/subjects/another-value/versions",
        data=json.dumps({"schema": json.dumps(more)}).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urlopen(request) as reply:  # noqa: S310
        return int(json.load(reply)["id"])


Make = Callable[[str, str], bytes]
"""Returns the value of an event, from user and messageId."""


def ours(user: str, message: str) -> bytes:
    """A profile as our own producers write it."""
    return record_of(json.dumps(identify(user, message)).encode())[1]


@asynccontextmanager
async def producing(
    stack: Stack, make: Make, name: str = "n", *, age_s: float = 0
) -> AsyncIterator[list[str]]:
    """Let a producer write profiles as long as this lasts; the users so far are yielded."""
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    users: list[str] = []

    async def produce() -> None:
        while True:
            for _ in range(3):
                user = f"{name}{len(users)}"
                at = round((time.time() - age_s) * 1000)
                value = make(user, f"new-{user}")
                producer.produce(stack.config.topic, value, user, timestamp=at)
                users.append(user)
            producer.poll(0)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(produce())
    try:
        yield users
    finally:
        task.cancel()
        assert await asyncio.to_thread(producer.flush, STILL_S) == 0


async def test_a_wrong_schema_is_deployed(
    stack: Stack, tmp_path: Path, registry: LocalRegistry
) -> None:
    """A producer writes by a schema that the registry lacks: held first, then dead letters."""
    wrong = register(registry)

    def make(user: str, message: str) -> bytes:
        return confluent_header(wrong) + ours(user, message)[10:]

    async with RegistryGate(registry.url) as gate:
        gate.hidden.add(wrong)
        waiting = {"SCHEMA_REGISTRY__UNKNOWN_ID_TIMEOUT_S": stretched(10)}
        installed = release(stack, **SESSION, **gate.settings, **waiting)
        async with watched(installed, tmp_path) as pager:
            async with producing(stack, make) as users:
                await pager.until_fires("WootricPartitionHalted", reason="unknown_schema")
                await installed.look(steps("WootricPartitionHalted", "First look"))
                await pager.until_fires("WootricDeadLetterBurst")
                letter = (await asyncio.to_thread(stack.read, stack.config.dead_letter_topic))[0]
                installed.examples = {
                    "0-1207": f"{letter.partition()}-{letter.offset()}",
                    "invalid_score": "unknown_schema",
                }
                said = await installed.look(steps("WootricDeadLetterBurst", "First look"))
                assert "unknown_schema" in said
                gate.hidden.clear()
            await settled(stack)

            async def all_replayed() -> bool:
                await installed.do(steps("WootricDeadLetterBurst", "Fix", "Then replay"))
                await settled(stack)
                said = await installed.look(steps("WootricDeadLetterBurst", "Verify"))
                return "\n0 are open" in said

            await until(all_replayed, "no dead letter is open", stack.moved)
            await pager.until_ends("WootricPartitionHalted", "WootricDeadLetterBurst")
    held = {user.external_id for user in stack.wootric.state.end_users.values()}
    assert held == set(users)


async def test_a_lag_that_only_the_rate_limit_makes(stack: Stack, tmp_path: Path) -> None:
    """A ticket that says for how long, and nobody is woken."""
    installed = release(stack, **SESSION, WOOTRIC__REQUESTS_PER_MINUTE="600")
    installed.examples = {"MINUTE=300": "MINUTE=60000"}
    async with watched(installed, tmp_path) as pager:
        async with producing(stack, ours, "before") as before:  # nobody is late yet
            await pager.until_recorded("job:wootric_rate_limited:only == 1")
        began_at = time.time()
        async with producing(stack, ours, age_s=LATE_S) as users:
            ticket = await pager.until_fires("WootricRateLimited")
            assert ticket["severity"] == "ticket"
            assert "The lag does not shrink" in await pager.description("WootricRateLimited")
            assert await pager.pages(began_at) == set()
            said = await installed.look(steps("WootricRateLimited", "First look"))
            assert "behind" in said
        await installed.do(steps("WootricRateLimited", "Fix", "The account allows more"))
        await settled(stack)
        await installed.do(steps("WootricRateLimited", "Verify"))
        await pager.until_ends("WootricRateLimited")
    assert len(stack.wootric.state.end_users) == len(before) + len(users)


async def test_a_zombie_on_a_frozen_node(stack: Stack, tmp_path: Path) -> None:
    """Kubernetes does not replace it; its replacement fences it, and it ends when it wakes."""
    installed = release(stack, 2, **SESSION)
    installed.examples = {"RELEASE-2": "RELEASE-1"}
    zombie = installed.workers[1]
    async with watched(installed, tmp_path) as pager:
        await publish(stack, 0, "before")
        await settled(stack)
        async with producing(stack, ours) as users:
            zombie.freeze()
            await pager.until_fires("WootricWorkersMissing")
            await installed.look(steps("WootricWorkersMissing", "First look"))
            await installed.do(steps("WootricWorkersMissing", "Fix", "does not answer: Kubernetes"))
            zombie.thaw()
            assert await zombie.until_ended() == 75
        await settled(stack)
        await installed.do(steps("WootricWorkersMissing", "Verify"))
        await pager.until_ends("WootricWorkersMissing")
    assert len(stack.wootric.state.end_users) == EVENTS + len(users)


async def test_a_worker_that_is_killed_again_and_again(stack: Stack, tmp_path: Path) -> None:
    """It starts again each time, and what it had under way is done once."""
    installed = release(stack, **SESSION)
    (worker,) = installed.workers
    async with watched(installed, tmp_path) as pager:
        async with producing(stack, ours) as users:

            async def fires() -> bool:
                worker.kill()
                await installed.until_ready()
                await asyncio.to_thread(pager.prometheus.until_seen)
                alerts = [one["alertname"] for one in await pager.firing()]
                return "WootricWorkerRestarting" in alerts

            await until(fires, "WootricWorkerRestarting fires", stack.moved)
            await installed.look(steps("WootricWorkerRestarting", "First look"))
            await installed.look(steps("WootricMemoryNearLimit", "First look"))
            await installed.do(steps("WootricMemoryNearLimit", "Fix", "Raise the limit"))
        await settled(stack)
        await installed.do(steps("WootricWorkerRestarting", "Verify"))
        await pager.until_ends("WootricWorkerRestarting")
    assert len(stack.wootric.state.end_users) == len(users)
