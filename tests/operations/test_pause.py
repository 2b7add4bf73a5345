"""The operator holds the input while workers run, restart and die."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from stack import Stack, Worker
from town import PATIENT, ask, identify, run
from waiting import STILL_S, until

from stream.devtools.traffic import traffic
from stream.devtools.wootric_emulator import Delay
from stream.devtools.wootric_emulator.faults import Faults
from tests.faults.oracle import agrees

EVENTS = 3_000
BEFORE, AFTER = 200, 500
"""Effects before the pause, and events that are published in it."""
SLOW_S = 1.0
"""Of each request: most events still wait when the commands have run, on any machine."""


async def summed(workers: Sequence[Worker], name: str) -> float:
    """Return the sum of a metric's series over workers."""
    found = [await worker.metrics() for worker in workers]
    return sum(v for one in found for key, v in one.items() if key.partition("{")[0] == name)


async def status(stack: Stack, worker: Worker) -> Any:
    """Return what `status` says, in a process of its own: the command ends its process."""
    command = [sys.executable, "-m", "stream", "status", "--json", "--url"]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, f"http://127.0.0.1:{worker.port}"],
        env={**os.environ, **stack.environment("operator")},
        capture_output=True,
        check=True,
        timeout=STILL_S,
    )
    return json.loads(done.stdout)


async def until_paused(stack: Stack, *workers: Worker, partitions: int) -> None:
    """Return once so many partitions are paused."""

    async def paused() -> bool:
        return await summed(workers, "wootric_consumer_paused") == partitions

    await until(paused, f"{partitions} partitions are paused", stack.moved)


async def until_held(stack: Stack, *workers: Worker, partitions: int) -> None:
    """Return once so many partitions are paused and no request is in flight."""
    await until_paused(stack, *workers, partitions=partitions)

    async def finished() -> bool:
        in_flight = await summed(workers, "wootric_sink_in_flight_deliveries")
        return in_flight + await summed(workers, "wootric_in_doubt_records") == 0

    await until(finished, "no request is in flight", stack.moved)


async def until_behind(stack: Stack, *workers: Worker, records: int) -> None:
    """Return once the workers know that they are so far behind."""

    async def behind() -> bool:
        return await summed(workers, "wootric_consumer_lag_records") >= records

    await until(behind, f"the lag is {records}", stack.moved)


async def test_a_pause_outlives_the_workers_and_ends_with_resume(stack: Stack) -> None:
    """Under load: what is in flight is finished, nothing else is sent, then all of it, in order."""
    stack.wootric.on("*", "*", Delay(before_s=SLOW_S), always=True)
    workers = [stack.worker("w1", **PATIENT), stack.worker("w2", **PATIENT)]
    for worker in workers:
        worker.start()
    samples = [sample.value for sample in traffic(events=EVENTS, seed=3)]
    await asyncio.to_thread(stack.publish, samples)
    effects = stack.wootric.state.effects
    await until(lambda: len(effects) >= BEFORE, "it delivers", stack.moved)
    preview = await ask(stack, "pause")
    assert {one["effect"] for one in preview["partitions"]} == {"is paused"}
    assert not preview["done"]
    ran = await run(stack, "pause", "--yes")
    assert ran.code == 0, ran.err
    assert '"input_changed"' in ran.err
    await until_held(stack, *workers, partitions=3)
    sent = len(effects)
    assert sent < EVENTS / 2
    assert await summed(workers, "wootric_records_in_flight") > 0
    more = [identify(f"later{n}", f"later{n}") for n in range(AFTER)]
    await asyncio.to_thread(stack.publish, more)
    await until_behind(stack, *workers, records=AFTER)
    assert len(effects) == sent
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.start()
        await worker.until_ready()
    await until_held(stack, *workers, partitions=3)
    await until_behind(stack, *workers, records=AFTER)
    assert len(effects) == sent
    assert [line["event"] for line in workers[0].logged()].count("input_paused") >= 2
    found = await status(stack, workers[0])
    assert found["verdict"] == "warn"
    assert "3 partitions paused by the operator since 2" in found["summary"]
    assert found["workers"][0]["status"]["paused"].keys() <= {"0", "1", "2"}
    assert (await workers[0].get("/readyz"))[0] == 200
    again = await ask(stack, "pause", "--yes")
    assert {one["effect"] for one in again["partitions"]} == {"stays paused"}
    stack.wootric.faults = Faults()
    resumed = await ask(stack, "resume", "--yes")
    assert {one["effect"] for one in resumed["partitions"]} == {"is read again"}
    await stack.until_caught_up()
    assert len(effects) > sent
    assert await summed(workers, "wootric_consumer_paused") == 0
    await agrees(stack)


async def test_one_partition_is_held_and_the_others_flow(stack: Stack) -> None:
    """Also by a worker that starts later."""
    ran = await run(stack, "pause", "--partition", "7", "--yes")
    assert (ran.code, "has no partition 7" in ran.err) == (1, True)
    await ask(stack, "pause", "--partition", "1", "--yes")
    worker = stack.worker("w1", **PATIENT)
    worker.start()
    users = [f"u{n}" for n in range(90)]
    await asyncio.to_thread(stack.publish, [identify(user, user) for user in users])
    others = sum(record.partition.number != 1 for record in stack.published)
    state = stack.wootric.state
    await until(lambda: len(state.end_users) == others, "the others are delivered", stack.moved)
    await until_behind(stack, worker, records=len(users) - others)
    assert len(state.end_users) == others
    await ask(stack, "resume", "--partition", "1", "--yes")
    await stack.until_caught_up()
    assert len(state.end_users) == len(users)
    await agrees(stack)


async def test_a_request_in_doubt_is_resolved_in_a_pause(stack: Stack) -> None:
    """Its worker died; its event is read again for that, and nothing else is sent."""
    stack.wootric.on("POST", "/v1/end_users", Delay(after_s=3600), always=True)
    worker = stack.worker("w1", **PATIENT)
    worker.start()
    await asyncio.to_thread(stack.publish, [identify("ann", "first", plan="a")])
    effects = stack.wootric.state.effects
    await until(lambda: len(effects) == 1, "it was executed without a reply", stack.moved)
    await ask(stack, "pause", "--yes")
    await until_paused(stack, worker, partitions=3)
    others = [identify("ann", "second", plan="b"), identify("bob", "third")]
    await asyncio.to_thread(stack.publish, others)
    await until_behind(stack, worker, records=3)
    worker.kill()
    stack.wootric.faults = Faults()
    heir = stack.worker("w1")
    heir.start()
    await heir.until_ready()

    async def known() -> bool:
        return await summed([heir], "wootric_in_doubt_checks_total") == 1

    await until(known, "it was looked up", stack.moved)
    await until_held(stack, heir, partitions=3)
    await until_behind(stack, heir, records=2)
    assert len(effects) == 1
    await ask(stack, "resume", "--yes")
    await stack.until_caught_up()
    await agrees(stack)
