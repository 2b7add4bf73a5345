"""A worker killed with -9 at random moments, under load, while replies are lost."""

import asyncio
from random import Random

import pytest
from oracle import agrees
from stack import Stack
from waiting import until

from stream.devtools.traffic import traffic
from stream.devtools.wootric_emulator import LostReplies

EVENTS, MANY_EVENTS = 4_000, 20_000
KILLS = 10
SHARE_BETWEEN = (1 / 130, 1 / 20)
"""How many effects there are from one kill to the next, as a part of the events."""


@pytest.mark.parametrize("put_properties", ["merge", "replace"])
@pytest.mark.parametrize("events", [EVENTS, pytest.param(MANY_EVENTS, marks=pytest.mark.slow)])
async def test_ten_kills_and_lost_replies_leave_wootric_as_it_should_be(
    stack: Stack, events: int, put_properties: str
) -> None:
    """Nothing is lost, nothing is there twice, whenever the worker dies."""
    dice = Random(7)
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"put_properties": put_properties})
    stack.wootric.at_random(LostReplies(probability=0.05, seed=7))
    samples = list(traffic(events=events, seed=7))
    worker = stack.worker()
    worker.start()
    await asyncio.to_thread(stack.publish, [sample.value for sample in samples])
    effects = stack.wootric.state.effects
    for _ in range(KILLS):
        enough = len(effects) + round(events * dice.uniform(*SHARE_BETWEEN))
        await until(lambda enough=enough: len(effects) >= enough, "it delivers", stack.moved)
        await asyncio.to_thread(worker.kill)
        worker.start()
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0

    await agrees(stack)
