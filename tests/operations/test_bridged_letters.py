"""Dead letters that the bridge wrote: listed, shown, traced, replayed, dismissed, erased."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from readings import wootric_for
from segment import JSON, bridge, sign, stringify
from stack import Stack
from town import PATIENT, ask, identify, response, responses, run
from waiting import STILL_S, stretched, until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.asyncio(loop_scope="module"),
]

WAITING = {"BRIDGE__ACK_TIMEOUT_S": "60", "BRIDGE__BODY_TIMEOUT_S": stretched(60)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridged(
    bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A worker runs. Segment has sent two requests with an event without ids, one of them twice."""
    async with wootric_for("bridged") as wootric:
        stack = Stack(bootstrap_servers, wootric, tmp_path_factory.mktemp("bridged"))
        await asyncio.to_thread(stack.create_topics)
        stack.worker("w1", **PATIENT).start()
        gate = bridge(stack, **WAITING)
        gate.start()
        await gate.until_ready()
        lost = nameless(response("lost", "lost"))
        for request in ([identify("ann", "kept"), lost], [identify("ann", "kept"), lost]):
            answer = await post(gate.url, request)
            assert answer == {"accepted": 1, "rejected": 1, "event": 1, "detail": NO_IDS}
        assert (await post(gate.url, nameless(identify("eve", "alone"))))["rejected"] == 1
        assert await asyncio.to_thread(gate.stop) == 0
        await stack.until_caught_up()
        yield stack
        stack.end()


NO_IDS = "there is neither userId nor anonymousId"


def nameless(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "userId"}


async def post(url: str, body: Any) -> dict[str, Any]:
    text = stringify(body)
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=text, headers={**JSON, "X-Signature": sign(text)}) as reply,
    ):
        assert reply.status == 200, await reply.text()
        document: dict[str, Any] = await reply.json()
        return document


async def test_they_are_listed_shown_and_traced(bridged: Stack) -> None:
    found = await ask(bridged, "dlq", "list", "--reason", "invalid_event")
    assert (found["counts"], found["open"], found["foreign"]) == ({"invalid_event": 3}, 3, 0)
    assert sorted((one["message_id"], one["origin"]) for one in found["letters"]) == [
        ("alone", "webhook:/v1/events 0-0"),
        ("lost", "webhook:/v1/events 0-1"),
        ("lost", "webhook:/v1/events 0-1"),
    ]
    place = next(one["place"] for one in found["letters"] if one["message_id"] == "lost")
    shown = await ask(bridged, "dlq", "show", place)
    assert shown["event"]["properties"]["score"] == 9
    assert shown["headers"]["x-detail"] == NO_IDS
    assert shown["replay_now"] == "sent to Wootric: create_response"
    traced = await ask(bridged, "trace", "lost")
    assert traced["input"] == []
    assert [one["state"] for one in traced["letters"]] == ["open", "open"]
    for offset in (0, 1):  # of the input, where another record may have the place of a letter
        ran = await run(bridged, "trace", "--at", f"0-{offset}", "--json")
        assert ran.code == 1 or ran.document["letters"] == []


async def test_erase_finds_them(bridged: Stack) -> None:
    """By what is in their JSON, also where it is short."""
    ran = await run(bridged, "erase", "--user", "eve@example.com", "--json")
    assert ran.code == 0, ran.err
    assert len(ran.document["letters"]["dead letter"]) == 1


async def test_a_replay_has_one_effect_however_often_segment_has_sent_it(bridged: Stack) -> None:
    await ask(bridged, "dlq", "dismiss", "--until", "1h", "--yes")  # of nothing: all are younger
    done = await ask(bridged, "dlq", "replay", "--reason", "invalid_event", "--yes")
    assert (done["sent"], done["no_event"], done["without_bytes"]) == (3, 0, 0)
    await bridged.until_caught_up()
    assert responses(bridged) == ["lost"]
    emails = {user.email for user in bridged.wootric.state.end_users.values()}
    assert emails == {"ann@example.com", "lost@example.com", "eve@example.com"}
    found = await ask(bridged, "dlq", "list", "--reason", "invalid_event", "--outcomes")
    assert {one["state"] for one in found["letters"]} == {"replayed: delivered"}
    again = await ask(bridged, "dlq", "replay", "--reason", "invalid_event", "--yes")
    assert (again["sent"], again["done_before"]) == (0, 3)
    assert (await ask(bridged, "verify"))["agrees"] is True


async def test_what_came_from_a_topic_and_is_no_event_is_dismissed(bridged: Stack) -> None:
    """A replay would only make another letter of it; an event that is whole now goes through."""
    source = f"{bridged.config.topic}.json"
    bridged.admin.create_topics([NewTopic(source, 1, 1)])[source].result()
    producer = Producer({"bootstrap.servers": bridged.bootstrap_servers})
    for value in (b"\xff", b"[1]", b"17"):
        producer.produce(source, value)
    assert producer.flush(STILL_S) == 0
    rekeyer = bridge(bridged, "--from-topic", source, instance="b2")
    rekeyer.start()

    async def listed() -> bool:
        found = await ask(bridged, "dlq", "list", "--reason", "invalid_json")
        return found["open"] == 3

    await until(listed, "the records are dead letters", rekeyer.said)
    assert await asyncio.to_thread(rekeyer.stop) == 0
    found = await ask(bridged, "dlq", "list", "--reason", "invalid_json")
    assert {one["origin"] for one in found["letters"]} == {f"{source} 0-{n}" for n in range(3)}
    shown = await ask(bridged, "dlq", "show", found["letters"][0]["place"])
    assert (shown["event"], shown["replay_now"].split(":")[0]) == (None, "impossible")
    done = await ask(bridged, "dlq", "replay", "--reason", "invalid_json", "--yes")
    assert (done["sent"], done["no_event"]) == (0, 3)
    ran = await run(bridged, "dlq", "replay", "--reason", "invalid_json")
    assert "3 more of the bridge are no events" in ran.out
    gone = await ask(bridged, "dlq", "dismiss", "--reason", "invalid_json", "--yes")
    assert gone["dismissed"] == 3
    found = await ask(bridged, "dlq", "list", "--reason", "invalid_json")
    assert {one["state"] for one in found["letters"]} == {"dismissed"}


async def test_those_of_another_input_are_left_alone(bridged: Stack) -> None:
    """Two installations may share a dead-letter topic."""
    topic = {"KAFKA__DEAD_LETTER_TOPIC": bridged.config.dead_letter_topic}
    other = await ask(bridged, "dlq", "list", KAFKA__TOPIC=f"{bridged.config.topic}.json", **topic)
    assert (other["total"], other["open"]) == (0, 0)
    assert other["foreign"] >= 3
