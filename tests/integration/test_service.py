"""The service as a process, on a real Kafka, against the emulator."""

import asyncio
import sys
import time
from pathlib import Path

from stack import Stack
from waiting import SLOWNESS, slowness, stretched, until

from stream.state.ledger import EventEntry, EventOutcome, IntentEntry
from tests.bench.traces import distinct

SESSION_S = 300.0
"""For so long a group stands still for a member that died, unless it comes back as itself.
The longest that Kafka's client takes: in that time a wait for what does not move has failed.
"""
PATIENT = {"WOOTRIC__REQUEST_TIMEOUT_S": stretched(30)}
"""For a test that orders no silence: the emulator lives in its process, and may be held up."""


def identify(user: int, message: str, **traits: object) -> dict:
    return {
        "type": "identify",
        "messageId": message,
        "userId": f"u{user}",
        "timestamp": "2026-01-02T03:04:05.000Z",
        "traits": {"email": f"u{user}@example.com", **traits},
    }


def page(user: int, message: str) -> dict:
    return {
        "type": "page",
        "messageId": message,
        "userId": f"u{user}",
        "properties": {"url": f"https://example.com/{message}"},
    }


def response(user: int, message: str, score: object) -> dict:
    return {
        "type": "track",
        "messageId": message,
        "userId": f"u{user}",
        "event": "Survey",
        "timestamp": "2026-01-02T03:04:05.000Z",
        "properties": {"score": score, "text": message, "url": "https://example.com/"},
        "context": {"ip": "192.0.2.1", "traits": {"email": f"u{user}@example.com"}},
        "integrations": {"Wootric": {"eventType": "create response"}},
    }


async def test_every_kind_of_event_arrives_once_and_is_settled(stack: Stack) -> None:
    """Identify, page, response and their duplicates end in Wootric and in the ledger."""
    worker = stack.worker(**PATIENT, HTTP__BEARER_TOKEN="a-token-of-the-tests")
    worker.start()
    stack.publish(
        [
            identify(1, "m1", plan="free"),
            page(1, "m2"),
            identify(1, "m3", plan="pro"),
            response(1, "m4", 9),
            response(1, "m4", 9),
            identify(2, "m5"),
            {"type": "group", "messageId": "m6", "userId": "u1", "groupId": "g"},
        ]
    )
    await stack.until_caught_up()
    state = stack.wootric.state
    users = {user.external_id: user for user in state.end_users.values()}
    assert set(users) == {"u1", "u2"}
    assert users["u1"].properties == {"plan": "pro"}
    assert [r.score for r in state.responses.values()] == [9]
    assert len(state.page_views) == 1
    metrics = await worker.metrics()
    assert metrics['wootric_records_settled_total{outcome="delivered",reason=""}'] == 5
    assert metrics['wootric_records_settled_total{outcome="duplicate",reason="message_id"}'] == 1
    assert (await worker.get("/livez"))[0] == (await worker.get("/readyz"))[0] == 200
    assert (await worker.get("/status", authorized=False))[0] == 401
    assert worker.stop() == 0
    entries = [entry for (_, key), entry in stack.ledger().items() if key.startswith("event/")]
    assert [e.outcome for e in entries if isinstance(e, EventEntry)] == [EventOutcome.DELIVERED] * 5
    assert not [e for e in stack.ledger().values() if isinstance(e, IntentEntry)]


async def test_bad_records_become_dead_letters_and_the_stream_flows_on(stack: Stack) -> None:
    """Each bad record has one letter with its own bytes and a reason; a tombstone has none."""
    bad: dict[bytes, str] = {
        b"": "undecodable",
        b"\xfe\x01random": "undecodable",
        b"\x00\x00\x00\x00\x07xx": "no_registry",
        b"\xc3\x01" + b"\x11" * 8 + b"x": "unknown_schema",
        b"[1, 2": "undecodable",
        b"\xff" * 900_000: "undecodable",
    }
    events = [
        response(1, "eleven", 11),
        {**identify(2, "list"), "traits": {"email": ["a@example.com"]}},
        identify(3, "garbage", createdAt="garbage"),
        {key: value for key, value in identify(4, "-").items() if key != "messageId"},
    ]
    worker = stack.worker()
    worker.start()
    stack.publish([*bad, None, *events, identify(5, "last")])
    await stack.until_caught_up()
    letters = stack.read(stack.config.dead_letter_topic)
    reasons = {m.value(): dict(m.headers())["x-reason"].decode() for m in letters}
    assert {value: reasons.get(value) for value in bad} == bad
    assert sorted(reasons.values()) == sorted([*bad.values(), "invalid_score", "invalid_email"])
    held = {user.external_id for user in stack.wootric.state.end_users.values()}
    assert held == {"u3", "u4", "u5"}
    metrics = await worker.metrics()
    assert metrics['wootric_invalid_fields_total{note="invalid_created_at"}'] == 1
    assert metrics['wootric_records_settled_total{outcome="skipped",reason="tombstone"}'] == 1
    assert worker.stop() == 0


async def test_lag_reaches_zero_and_the_counters_add_up(stack: Stack) -> None:
    """Consumed is settled plus in flight, and an idle worker reports no lag at all."""
    worker = stack.worker()
    worker.start()
    stack.publish(identify(n % 50, f"m{n}", n=n) for n in range(500))
    await stack.until_caught_up()

    async def told() -> bool:
        told = await worker.metrics()
        lags = [value for name, value in told.items() if name.startswith("wootric_consumer_lag")]
        return len(lags) == 2 * stack.partitions and not any(lags)

    await until(told, "every partition has a lag, and none is behind")
    metrics = await worker.metrics()
    consumed = sum(v for k, v in metrics.items() if k.startswith("wootric_records_consumed_total"))
    settled = sum(v for k, v in metrics.items() if k.startswith("wootric_records_settled_total"))
    assert consumed == settled + metrics["wootric_records_in_flight"] == 500
    assert worker.stop() == 0


async def test_sigterm_finishes_what_is_under_way(stack: Stack) -> None:
    """A worker that is told to stop loses and repeats nothing, and exits with 0, long before the
    grace that the chart gives it (35 s; 27 s with these timeouts, on a machine that is not
    slower than they are stretched for). What it took is in
    docs/how-to/operate/scale.md.
    """
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"reply_delay_s": 0.05})
    first = stack.worker()
    first.start()
    stack.publish(response(n, f"m{n}", n % 11) for n in range(300))
    await until(lambda: len(stack.wootric.state.responses) >= 50, "it is sending", stack.moved)
    told_at = time.monotonic()
    assert await asyncio.to_thread(first.stop) == 0
    took_s = time.monotonic() - told_at
    print(f"from SIGTERM to exit: {took_s:.2f} s")
    assert took_s < 27 * max(SLOWNESS, slowness())
    assert not [e for e in stack.ledger().values() if isinstance(e, IntentEntry)]
    second = stack.worker()
    second.start()
    await stack.until_caught_up()
    texts = [r.text for r in stack.wootric.state.responses.values()]
    assert len(texts) == len(set(texts)) == 300


async def test_two_workers_share_the_partitions_and_nothing_is_repeated(stack: Stack) -> None:
    """A second worker joins under load, then leaves again."""
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"reply_delay_s": 0.01})
    first, second = stack.worker("w1"), stack.worker("w2")
    first.start()
    stack.publish(response(n, f"a{n}", n % 11) for n in range(1000))
    second.start()
    await second.until_logged('"partition_opened"')
    stack.publish(response(n, f"b{n}", n % 11) for n in range(1000))
    assert await asyncio.to_thread(second.stop) == 0
    await stack.until_caught_up()
    texts = [r.text for r in stack.wootric.state.responses.values()]
    assert len(texts) == len(set(texts)) == 2000


async def test_a_killed_worker_sends_again_before_its_session_is_over(stack: Stack) -> None:
    """With the same instance id it gets its partitions back at once."""
    worker = stack.worker(KAFKA__SESSION_TIMEOUT_S=f"{SESSION_S:g}")
    worker.start()
    stack.publish([identify(1, "before")])
    await stack.until_caught_up()
    worker.kill()
    began_at = time.monotonic()
    worker.start()
    stack.publish([identify(2, "after")])
    await until(lambda: len(stack.wootric.state.end_users) == 2, "it sends again", stack.moved)
    assert time.monotonic() - began_at < SESSION_S


async def test_no_event_waits_for_the_poll_that_follows_it(stack: Stack) -> None:
    """Its commit comes as a command, which nobody hears who waits for records."""
    launcher = Path(__file__).with_name("watched_polls.py")
    worker = stack.worker(command=(sys.executable, str(launcher)))
    worker.start()
    await worker.until_ready()
    for document in distinct(30, 1):
        stack.publish([document])
        await asyncio.sleep(0.03)
    await stack.until_caught_up()
    assert worker.stop() == 0
    assert "slept on what was handed over" not in worker.log.read_text()
