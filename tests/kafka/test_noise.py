"""Records of which most are no events, through the service as a process."""

import asyncio
import json
from collections import Counter

from stack import Stack

from tests.bench.ground import settled_in
from tests.bench.random_records import read_letters
from tests.bench.traces import distinct, publish
from tests.noise import Noise

RECORDS = 5_000


async def test_random_records_never_stop_the_stream(stack: Stack) -> None:
    """Each is settled, each bad one is one dead letter, each good one between arrives once."""
    noise = Noise(7, distinct(RECORDS, 7))
    records = tuple(noise.record() for _ in range(RECORDS))
    worker = stack.worker(KAFKA__DEAD_LETTERS_MAX="0")
    worker.start()
    await asyncio.to_thread(publish, stack.bootstrap_servers, stack.config.topic, records)
    await stack.until_caught_up()
    status = json.loads((await worker.get("/status"))[1])
    assert settled_in(status) == RECORDS
    letters, twice = await asyncio.to_thread(read_letters, stack)
    assert letters == Counter(status["settled"]["rejected"])
    assert len(letters) > 10
    assert twice == 0
    pages = Counter((view.email, view.url) for view in stack.wootric.state.page_views)
    good = [(p["context"]["traits"]["email"], p["properties"]["url"]) for p in noise.good]
    assert len(good) > 20
    assert {pages[page] for page in good} == {1}
    assert worker.stop() == 0
