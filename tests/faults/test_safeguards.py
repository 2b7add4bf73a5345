"""What only a real Kafka can show: rare moments, with the safeguard against them and without.

With it the oracle has nothing to complain of; without it it has. Each moment is brought about
step by step, and all of them at once, since most of the time is spent on waiting for sessions.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import unguarded
from confluent_kafka import Producer
from membership import remove_member
from oracle import complaints
from readings import wootric_for
from safeguards import KAFKA, shown_by
from stack import Stack, Worker
from waiting import stretched, until

from stream.devtools.traffic import Traffic, TrafficKind
from stream.devtools.wootric_emulator import Drop
from stream.kafka.reader import TopicReader

COMMAND = [sys.executable, str(Path(unguarded.__file__))]
FAST = {
    "WOOTRIC__REQUEST_TIMEOUT_S": stretched(1),
    "WOOTRIC__QUIET_PERIOD_S": stretched(0.2),
    "WOOTRIC__LEASE_S": stretched(1),
}


@dataclass
class Moment:
    """One stack of one partition, and whether its workers lack a safeguard."""

    stack: Stack
    safeguard: str
    people: Traffic

    @property
    def go_on(self) -> Path:
        """Lets a thread go on that stands still, once it exists."""
        return self.stack.folder / "go on"

    def worker(self, instance: str, **environment: str) -> Worker:
        return self.stack.worker(
            instance,
            command=COMMAND,
            UNGUARDED=self.safeguard,
            GO_ON=str(self.go_on),
            **FAST,
            **environment,
        )

    async def remove(self, worker: Worker) -> None:
        """Let the group forget a worker."""
        stack = self.stack
        await asyncio.to_thread(
            remove_member, stack.bootstrap_servers, stack.config.group_id, worker.log.stem
        )

    async def resolved(self) -> None:
        """Return when all is settled and nothing is in doubt any more."""
        survey = TopicReader(self.stack.config)
        await self.settled()
        await until(
            lambda: asyncio.to_thread(lambda: not survey.open_intents()),
            "no intent is open",
            self.stack.moved,
        )
        await self.settled()
        survey.close()

    async def publish(self, *kinds: TrafficKind) -> None:
        samples = [self.people.sample(kind).value for kind in kinds]
        await asyncio.to_thread(self.stack.publish, samples)

    async def settled(self) -> None:
        await self.stack.until_caught_up()


async def stop(*workers: Worker) -> None:
    for worker in workers:
        assert await asyncio.to_thread(worker.stop) == 0


async def ledger_behind_an_open_transaction(moment: Moment, *, rare: str = "") -> None:
    """Somebody's transaction on the ledger stays open; a worker dies behind it, and comes back."""
    stack = moment.stack
    ghost = Producer(
        {
            "bootstrap.servers": stack.bootstrap_servers,
            "transactional.id": f"{stack.config.group_id}-nobody",
        }
    )
    ghost.init_transactions(30)
    ghost.begin_transaction()
    ghost.produce(stack.config.ledger_topic, key=b"event/nobody", value=b"", partition=0)
    ghost.flush(10)
    worker = moment.worker("w1", RARE=rare, FAULTS='{"after create_response": [1, "kill"]}')
    worker.start()
    await moment.publish(TrafficKind.RESPONSE)
    if not moment.safeguard:
        await worker.until_joined()
        await asyncio.sleep(1)
        assert "partition_opened" not in worker.log.read_text()
        await asyncio.to_thread(ghost.abort_transaction)
    await worker.until_ended()
    again = moment.worker("w1", RARE=rare)
    again.start()
    await moment.settled()
    if moment.safeguard:
        await asyncio.to_thread(ghost.abort_transaction)
    await stop(again)


async def leader_that_does_not_answer(moment: Moment) -> None:
    """The same, and the first question for the ledger's end is not answered."""
    await ledger_behind_an_open_transaction(moment, rare="ledger has no leader")


async def loop_that_stands_still(moment: Moment) -> None:
    """A checkpoint of an assignment that is over is committed under the next one."""
    late, other = moment.worker("w1", RARE="loop stands still"), moment.worker("w2")
    late.start()
    await late.until_logged("partition_opened")
    await moment.publish(*[TrafficKind.RESPONSE] * 3)
    await late.until_logged(unguarded.STANDING)
    late.freeze()
    await moment.remove(late)
    other.start()
    await moment.settled()
    await stop(other)
    await moment.remove(other)
    late.thaw()
    await until(lambda: late.log.read_text().count(unguarded.GIVEN) == 2, "it is back", late.said)
    moment.go_on.touch()
    await late.until_logged(unguarded.OVER)
    await moment.settled()
    await stop(late)
    again = moment.worker("w1")
    again.start()
    await again.until_ready()
    await moment.resolved()
    await stop(again)


async def commit_that_comes_from_nobody(moment: Moment) -> None:
    """Another one has had the partition meanwhile, and its transaction is older news."""
    late, other = moment.worker("w1", RARE="commit comes from nobody"), moment.worker("w2")
    late.start()
    await late.until_logged("partition_opened")
    await moment.publish(*[TrafficKind.RESPONSE] * 3)
    await late.until_logged(unguarded.STANDING)
    await moment.remove(late)
    other.start()
    await moment.settled()
    await stop(other)
    await moment.remove(other)
    moment.go_on.touch()
    await late.until_logged(unguarded.OVER)
    await until(
        lambda: late.log.read_text().count("partition_opened") == 2, "it is back", late.said
    )
    await moment.resolved()
    await stop(late)


async def commit_that_is_not_answered(moment: Moment) -> None:
    """Nobody says what became of a transaction that holds a dead letter; it never happened."""
    worker = moment.worker("w1", RARE="commit is not answered")
    worker.start()
    await moment.publish(TrafficKind.RANDOM_BYTES)
    await worker.until_logged("commit_unknown")
    await moment.publish(TrafficKind.RESPONSE)
    await moment.settled()
    await stop(worker)


async def pixel_that_hangs_up(moment: Moment) -> None:
    """A connection that was used before is reset after the page view was counted."""
    worker = moment.worker("w1")
    worker.start()
    await moment.publish(TrafficKind.PAGE)
    await moment.settled()
    moment.stack.wootric.on("GET", "/pixel.gif", Drop(effect=True))
    await moment.publish(TrafficKind.PAGE)
    await moment.settled()
    await stop(worker)


MOMENTS: dict[str, Callable[[Moment], Awaitable[None]]] = {
    "barrier": ledger_behind_an_open_transaction,
    "an unanswered end is no end": leader_that_does_not_answer,
    "commits of the current assignment only": loop_that_stands_still,
    "fence": commit_that_comes_from_nobody,
    "read back of an unknown commit": commit_that_is_not_answered,
    "no transparent retry": pixel_that_hangs_up,
}


@asynccontextmanager
async def moment_of(servers: str, folder: Path, safeguard: str) -> AsyncIterator[Moment]:
    folder.mkdir()
    async with wootric_for(safeguard) as wootric:
        stack = Stack(servers, wootric, folder, partitions=1)
        await asyncio.to_thread(stack.create_topics)
        try:
            yield Moment(stack, safeguard, Traffic(Random(3), users=6))
        finally:
            stack.end()


async def verdict(servers: str, folder: Path, name: str, *, guarded: bool) -> list[str]:
    """Let a moment happen, and return what the oracle says of it."""
    place = folder / f"{name} {'with' if guarded else 'without'}"
    async with moment_of(servers, place, "" if guarded else name) as moment:
        await MOMENTS[name](moment)
        return await complaints(moment.stack)


async def test_without_a_safeguard_a_rare_moment_does_harm(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    """And with it the same moment does none."""
    runs = [(name, guarded) for name in MOMENTS for guarded in (True, False)]
    found = await asyncio.gather(
        *(verdict(bootstrap_servers, tmp_path, name, guarded=guarded) for name, guarded in runs)
    )
    complaints_by_run = dict(zip(runs, found, strict=True))
    for (name, guarded), said in complaints_by_run.items():
        assert bool(said) is not guarded, f"{name}, {'with' if guarded else 'without'}: {said}"


def test_every_safeguard_that_kafka_is_said_to_show_has_its_moment() -> None:
    assert set(MOMENTS) == set(unguarded.UNGUARDED)
    assert set(MOMENTS) == shown_by(KAFKA)
