"""The crash matrix with state on disk: every call of the store, and some of the others."""

import asyncio
import signal

import launcher
import pytest
from oracle import agrees
from stack import Stack, Worker
from test_crash_points import (
    FAST,
    breaking,
    death,
    end_well,
    mixed,
    people,
    publish,
)
from waiting import until

from stream.devtools.wootric_emulator import Drop

CLOSING = {"before close store", "after close store"}
CHOSEN = ("after commit",)
CHAIN = [point for point in launcher.store_points() if point not in CLOSING] + list(CHOSEN)


@pytest.fixture
def on_disk(stack: Stack) -> Stack:
    """A stack whose workers keep their state on disk."""
    stack.settings["STATE__DIR"] = str(stack.folder / "state")
    return stack


async def until_restored(worker: Worker) -> None:
    """Return once all three partitions were opened warm."""

    async def restored() -> bool:
        return (await worker.metrics())['wootric_restores_total{start="warm"}'] == 3

    await until(restored, "all partitions are restored", worker.said)


async def test_a_kill_at_each_call_of_the_store_changes_nothing(on_disk: Stack) -> None:
    """Each worker dies at its own point; its successor opens what it has left."""
    source = people(5, users=15)
    await publish(on_disk, mixed(source))
    await end_well(on_disk)
    for point in CHAIN:
        on_disk.wootric.on("GET", "/pixel.gif", Drop(effect=True))
        await publish(on_disk, mixed(source))
        worker = breaking(on_disk, {point: (1, "kill")})
        worker.start()
        await death(worker, point)
    await end_well(on_disk)
    worker.forget_faults()
    worker.start()
    await worker.until_ready()
    await until_restored(worker)
    metrics = await worker.metrics()
    assert metrics['wootric_restores_total{start="cold"}'] == 0
    assert metrics["wootric_state_disk_bytes"] > 0
    assert await asyncio.to_thread(worker.stop) == 0
    assert "state_store_" not in worker.log.read_text()


@pytest.mark.parametrize("point", sorted(CLOSING))
async def test_a_kill_while_a_store_is_closed(on_disk: Stack, point: str) -> None:
    samples = mixed(people(8))
    worker = breaking(on_disk, {point: (1, "kill")})
    worker.start()
    await publish(on_disk, samples)
    await on_disk.until_caught_up()
    worker.running.send_signal(signal.SIGTERM)
    await death(worker, point)
    await end_well(on_disk)
    assert "state_store_" not in worker.log.read_text()


async def test_a_partition_that_moves_takes_its_store_along(on_disk: Stack) -> None:
    """Who gives it away closes it; who gets it goes on with it, in a directory that is shared."""
    source = people(6, users=30)
    first, second = on_disk.worker("w1", **FAST), on_disk.worker("w2", **FAST)
    first.start()
    await publish(on_disk, mixed(source))
    await on_disk.until_caught_up()
    second.start()
    await second.until_logged("partition_opened")
    await publish(on_disk, mixed(source))
    await on_disk.until_caught_up()
    assert await asyncio.to_thread(second.stop) == 0
    await on_disk.until_caught_up()
    assert await asyncio.to_thread(first.stop) == 0
    await agrees(on_disk)
    opened = [line for line in second.logged() if line["event"] == "partition_opened"]
    assert all(line["warm"] for line in opened)
    assert "state_" not in first.log.read_text() + second.log.read_text()


@pytest.mark.parametrize("point", ["before scan store", "before write store"])
async def test_a_store_that_fails_ends_its_worker_and_is_rebuilt(
    on_disk: Stack, point: str
) -> None:
    """An answer that may be wrong is none: the supervisor starts it again."""
    source = people(9)
    await publish(on_disk, mixed(source))
    await end_well(on_disk)
    await publish(on_disk, mixed(source))
    worker = breaking(on_disk, {point: (1, "break")})
    worker.start()
    assert await worker.until_ended() == 75
    worker.forget_faults()
    worker.start()
    await on_disk.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    await agrees(on_disk)
    events = [(line["event"], line.get("reason")) for line in worker.logged()]
    assert ("state_unreadable", None) in events
    assert ("state_store_rebuilt", "corrupt") in events
