"""Signed webhooks through a bridge that is killed, told to stop, or cut off from Kafka."""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import psutil
import pytest
from oracle import agrees
from readings import wootric_for
from segment import Segment, bridge, signed, take_over
from stack import Stack
from waiting import Stillness, until

from stream.codec.avro import all_packaged
from stream.codec.decode import Decoder
from stream.devtools.local_kafka import LocalBroker
from stream.devtools.traffic import traffic

SAMPLES = json.loads((Path(__file__).parents[1] / "cases" / "segment_samples.json").read_text())


def has_a_user(event: dict[str, Any]) -> bool:
    """Whether it is an event at all: an API request of many, or a reply, has no user."""
    names = ("userId", "anonymousId", "User ID")
    return any(name in event for name in names)


async def post(url: str, event: Any) -> tuple[int, dict[str, Any]]:
    body, headers = signed(event)
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as reply,
    ):
        return reply.status, await reply.json()


async def test_every_sample_has_its_effect_once(stack: Stack) -> None:
    """What is no event is a dead letter; the rest ends as the table says, though sent twice."""
    gate, worker = bridge(stack), stack.worker()
    gate.start()
    worker.start()
    await gate.until_ready()
    taken = [case for case in SAMPLES if has_a_user(case["event"])]
    no_events = [case for case in SAMPLES if case not in taken]
    for case in no_events:
        status, answer = await post(gate.url, case["event"])
        assert (status, answer["accepted"], answer["rejected"]) == (200, 0, 1)
    assert len(taken) > 20
    for _ in range(2):
        for case in taken:
            assert await post(gate.url, case["event"]) == (200, {"accepted": 1}), case["file"]
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    assert await asyncio.to_thread(gate.stop) == 0

    take_over(stack)
    decoder = Decoder(all_packaged())
    assert len(stack.published) == 2 * len(taken)
    assert {decoder.decode(r.value).message_id for r in stack.published} >= {
        case["event"]["messageId"] for case in taken if "messageId" in case["event"]
    }
    distinct = {json.dumps(case["event"]): case["expected"] for case in taken}.values()
    rejected = [expected for expected in distinct if expected["outcome"] == "reject"]
    letters = stack.read(stack.config.dead_letter_topic)
    assert len(letters) == len(rejected) + len(no_events)
    users = [
        expected["operation"]
        for expected in distinct
        if expected.get("operation", {}).get("type") == "upsert_end_user"
    ]
    held = {user.external_id: user for user in stack.wootric.state.end_users.values()}
    assert {name: user.email for name, user in held.items()} == {
        user["external_id"]: user["email"] for user in users
    }
    for user in users:
        properties = {name: str(value) for name, value in user["properties"].items()}
        assert held[user["external_id"]].properties == properties
    # The other page is of somebody who is identified after it.
    assert [view.url for view in stack.wootric.state.page_views] == ["http://www.example.com"]


def events(count: int, seed: int) -> list[dict[str, Any]]:
    """Traffic as far as it can come as a webhook."""
    samples = traffic(events=count, seed=seed)
    return [sample.value for sample in samples if isinstance(sample.value, dict)]


def batches(documents: list[dict[str, Any]], dice: Random) -> list[Any]:
    """Single events and arrays, as Segment would cut them."""
    requests: list[Any] = []
    left = list(documents)
    while left:
        size = dice.choice((1, 1, 1, 20, 100))
        requests.append(left[0] if size == 1 else left[:size])
        left = left[size:]
    return requests


def message_ids(stack: Stack) -> set[str | None]:
    decoder = Decoder(all_packaged())
    return {decoder.decode(record.value or b"").message_id for record in stack.published}


async def test_ten_kills_of_the_bridge_lose_and_repeat_nothing(stack: Stack) -> None:
    """What was acknowledged is in Kafka, and what Segment sends again has no second effect."""
    dice = Random(31)
    documents = events(2_500, seed=31)
    gate, worker = bridge(stack, BRIDGE__UNSIGNED_BATCH_ITEMS="accept"), stack.worker()
    gate.start()
    worker.start()
    segment = Segment(gate.url)
    requests = batches(documents, dice)
    kills, answered = 10, 0
    stillness = Stillness(lambda: len(segment.answers))
    for number in range(kills + 1):
        share = requests[number * len(requests) // 11 : (number + 1) * len(requests) // 11]
        sending = asyncio.create_task(segment.send(share))
        if number < kills:
            answered += 5
            while segment.answers.count(200) < answered:
                stillness.check("the bridge answers")
                await asyncio.sleep(0.001)
            await asyncio.to_thread(gate.kill)
            gate.start()
        await sending
        answered = segment.answers.count(200)
    assert segment.answers.count(200) == len(requests)
    assert segment.answers.count(0) > kills
    await stack.until_caught_up()
    assert await asyncio.to_thread(gate.stop) == 0
    assert await asyncio.to_thread(worker.stop) == 0

    take_over(stack)
    assert len(stack.published) > len(documents)
    assert message_ids(stack) >= {d["messageId"] for d in documents if "messageId" in d}
    print(
        [(v.email, v.url) for v in stack.wootric.state.page_views],
        [
            (k, getattr(e, "outcome", ""), getattr(e, "reason", ""), getattr(e, "offset", ""))
            for k, e in stack.ledger().items()
        ],
    )
    await agrees(stack)


async def test_sigterm_finishes_what_was_accepted(stack: Stack) -> None:
    """Every request that is under way gets its answer; the process ends with 0."""
    documents = events(1_000, seed=32)
    first, second = bridge(stack, instance="b1"), bridge(stack, instance="b2")
    for gate in (first, second):
        gate.start()
        await gate.until_ready()
    segment = Segment(first.url)
    sending = asyncio.create_task(segment.send(documents))
    stillness = Stillness(lambda: len(segment.answers))
    while segment.answers.count(200) < 300:
        stillness.check("the bridge answers")
        await asyncio.sleep(0.001)
    assert await asyncio.to_thread(first.stop) == 0
    segment.url = second.url
    await sending
    assert set(segment.answers) <= {0, 200}
    assert await asyncio.to_thread(second.stop) == 0
    take_over(stack)
    ids = [d["messageId"] for d in documents if "messageId" in d]
    assert message_ids(stack) >= set(ids)


@pytest.mark.slow
async def test_memory_is_flat_while_kafka_is_away(tmp_path: Path) -> None:
    """Nothing piles up: 503 with Retry-After at once, and all goes on when Kafka is back."""
    documents = events(2_500, seed=33)
    with LocalBroker() as broker:
        async with wootric_for(tmp_path.name) as wootric:
            stack = Stack(broker.bootstrap_servers, wootric, tmp_path)
            await asyncio.to_thread(stack.create_topics)
            gate = bridge(stack, BRIDGE__ACK_TIMEOUT_S="1")
            gate.start()
            await gate.until_ready()
            segment = Segment(gate.url, senders=32)
            await segment.send(documents[:500])
            memory = psutil.Process(gate.running.pid).memory_info
            broker.node(1).pause()
            at_first = memory().rss
            sending = asyncio.create_task(segment.send(documents[500:]))
            await asyncio.sleep(4)
            answers = segment.answers
            await until(lambda: answers.count(503) > 50, "it refuses", lambda: len(answers))
            assert memory().rss - at_first < 20e6
            metrics = await gate.metrics()
            assert metrics["wootric_bridge_kafka_up"] == 0
            assert (await gate.get("/readyz"))[0] == 200
            async with aiohttp.ClientSession() as session:
                body, headers = signed(documents[0])
                async with session.post(gate.url, data=body, headers=headers) as reply:
                    assert reply.status == 503
                    assert int(reply.headers["Retry-After"]) > 0
            broker.node(1).resume()
            await sending
            assert segment.answers.count(200) == len(documents)
            assert await asyncio.to_thread(gate.stop) == 0
            take_over(stack)
            ids = {d["messageId"] for d in documents if "messageId" in d}
            assert message_ids(stack) >= ids
            stack.end()
