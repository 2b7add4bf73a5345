"""A worker killed with -9 at random moments, under load, while replies are lost."""

import asyncio
import json
from collections import Counter
from functools import partial
from random import Random

import aiohttp
import pytest
from stack import Stack

from sink.wootric.emulator import LostReplies
from stream.avro import all_packaged
from stream.decode import Decoder
from stream.judge import Judged, judge
from stream.kafka.publish import record_of
from stream.local.books import Books
from stream.local.expectation import compare, differences, expect, observed
from stream.local.traffic import Sample, traffic
from stream.record import Partition, Record
from stream.transform import Rules

EVENTS = 20_000
KILLS = 10


def judged(samples: list[Sample]) -> list[Judged]:
    """What should become of the samples, by the pure transform."""
    verdict = partial(judge, decoder=Decoder(all_packaged()), rules=Rules())
    events = []
    for offset, sample in enumerate(samples):
        value = sample.value
        if isinstance(value, dict):
            _, value = record_of(json.dumps(value).encode())
        events.append(verdict(Record(Partition("x", 0), offset, 0, None, value)))
    return events


@pytest.mark.timeout(300)
@pytest.mark.parametrize("put_properties", ["merge", "replace"])
async def test_ten_kills_and_lost_replies_leave_wootric_as_it_should_be(
    stack: Stack, put_properties: str
) -> None:
    """Nothing is lost, nothing is there twice, whenever the worker dies."""
    dice = Random(7)
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"put_properties": put_properties})
    stack.wootric.at_random(LostReplies(probability=0.05, seed=7))
    samples = list(traffic(events=EVENTS, seed=7))
    worker = stack.worker()
    worker.start()
    await asyncio.to_thread(stack.publish, [sample.value for sample in samples])
    for _ in range(KILLS):
        await asyncio.sleep(dice.uniform(0.6, 2.2))
        await asyncio.to_thread(worker.kill)
        worker.start()
    await stack.until_caught_up(150)
    assert await asyncio.to_thread(worker.stop) == 0

    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{stack.wootric.url}/_emulator/state") as reply,
    ):
        held = observed(await reply.json())
    books = Books(stack.config)
    letters, parked = await asyncio.to_thread(books.letters)
    expected = expect(judged(samples))
    rows = compare(expected, held, dead_letters=Counter(letters), parked_pages=len(parked))
    assert [row for row in rows if not row.agrees] == []
    assert differences(expected, held) == []
    assert await asyncio.to_thread(books.open_intents) == 0
    books.close()
