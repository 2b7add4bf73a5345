"""Places under way: never more than the limit, none lost, first come first served."""

import asyncio
from random import Random

import pytest
from waiting import STILL_S

from sink.concurrency import AdaptiveConcurrency
from sink.http_session import PermitPool


def slots(limit: int) -> PermitPool:
    return PermitPool(AdaptiveConcurrency(limit_max=limit))


async def test_as_many_as_the_limit_are_taken_at_once() -> None:
    two = slots(2)
    assert [await two.acquire(timeout_s=0) for _ in range(3)] == [True, True, False]
    assert (two.in_flight, two.in_use, two.acquired) == (2, 2, 2)


async def test_who_waits_longest_is_next() -> None:
    one = slots(1)
    await one.acquire(timeout_s=0)
    order: list[int] = []

    async def wait(number: int) -> None:
        assert await one.acquire(timeout_s=STILL_S)
        order.append(number)
        one.release()

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert one.in_use == 4
    one.release()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]
    assert (one.in_flight, one.in_use) == (0, 0)


async def test_whoever_comes_later_does_not_overtake() -> None:
    one = slots(1)
    await one.acquire(timeout_s=0)
    first = asyncio.create_task(one.acquire(timeout_s=STILL_S))
    await asyncio.sleep(0)
    one.release()
    assert not await one.acquire(timeout_s=0)
    assert await first


async def test_a_limit_that_grows_lets_more_in() -> None:
    one = slots(1)
    await one.acquire(timeout_s=0)
    waiting = [asyncio.create_task(one.acquire(timeout_s=STILL_S)) for _ in range(3)]
    await asyncio.sleep(0)
    one.concurrency.limit = 3
    one.release()
    assert await asyncio.gather(*waiting)
    assert one.in_flight == 3


@pytest.mark.parametrize("seed", range(20))
async def test_no_place_is_lost_however_waits_end(seed: int) -> None:
    """Time-outs and cancellations may come in the very moment in which a place is given."""
    dice = Random(seed)
    few = slots(3)
    most = 0

    async def work() -> None:
        nonlocal most
        if await few.acquire(timeout_s=dice.choice([0.0, 0.001, 0.01])):
            most = max(most, few.in_flight)
            try:
                await asyncio.sleep(dice.choice([0.0, 0.001]))
            finally:
                few.release()

    tasks = [asyncio.create_task(work()) for _ in range(60)]
    for task in tasks:
        if dice.random() < 0.3:
            await asyncio.sleep(0)
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (few.in_flight, few.in_use) == (0, 0)
    assert most == 3
    assert await few.acquire(timeout_s=0)
