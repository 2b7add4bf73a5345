"""What becomes of the partitions of a worker that is scaled away."""

import asyncio
import time

from stack import Stack, Worker
from waiting import SLOWNESS, slowness, stretched, until

SESSION_S = float(stretched(6))  # the brokers' least, if it can be; the default is 10


async def test_a_worker_that_is_scaled_away_is_replaced_when_its_session_ends(stack: Stack) -> None:
    """A static member does not leave, since it may come back; nobody waits longer than that."""
    first, second = (
        stack.worker(name, KAFKA__SESSION_TIMEOUT_S=f"{SESSION_S:g}") for name in ("w-0", "w-1")
    )
    first.start()
    second.start()
    await owned(first, at_least=1)
    await owned(second, at_least=1)
    assert await asyncio.to_thread(second.stop) == 0
    left_at = time.monotonic()
    await owned(first, at_least=stack.partitions)
    took_s = time.monotonic() - left_at
    print(f"from exit to the other's ownership: {took_s:.1f} s, of a session of {SESSION_S} s")
    assert took_s < SESSION_S + 5 * max(SLOWNESS, slowness())


async def owned(worker: Worker, *, at_least: int) -> None:
    await worker.until_ready()

    async def owns() -> bool:
        return (await worker.metrics())["wootric_consumer_assigned_partitions"] >= at_least

    await until(owns, f"it owns {at_least} partitions", worker.said)
