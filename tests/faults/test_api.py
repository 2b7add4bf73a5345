"""Wootric that refuses, for longer than anything has patience, under a live worker."""

import asyncio
import json
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import psutil
import pytest
from common import (
    COMMAND,
    IMPATIENT,
    IN_TRANSIT,
    MEMORY_MB_MAX,
    TROUBLE_S,
    end_well,
    publish,
    seen_in_trouble,
)
from crowd import crowd, together
from stack import Stack
from waiting import stretched, until

from stream.devtools.wootric_emulator import Answer, Delay
from stream.devtools.wootric_emulator.faults import Fault

__all__ = ["crowd"]

EVENTS = 200
EVERYTHING = ("/v1/*", "/pixel.gif")

LARGE, LARGE_BYTES = 4_000, 32_000
"""120 MB of records that are as large as Segment lets them be; in Python several times that."""

REFUSALS = {
    "429 for seconds": Answer(status=429, headers={"Retry-After": "1"}),
    "429 until a date": Answer(
        status=429, headers={"Retry-After": "Tue, 24 Nov 2026 00:00:00 GMT"}
    ),
    "429 without a word": Answer(status=429),
    "429 with garbage": Answer(status=429, headers={"Retry-After": "soon"}),
    "429 for a day": Answer(status=429, headers={"Retry-After": "86400"}),
    "401": Answer(status=401),
    "403": Answer(status=403),
    "402": Answer(status=402),
    "503 before the effect": Answer(status=503, headers={"Retry-After": "1"}),
}
TOKEN_TROUBLE: Mapping[str, tuple[Fault, int]] = {
    "down": (Answer(status=503), 12),
    "slow": (Delay(before_s=float(stretched(2.5))), 3),
    "400": (Answer(status=400, body='{"error":"invalid_client"}'), 2),
    "the same token again": (
        Answer(status=200, body='{"access_token":"worthless","expires_in":7200}'),
        3,
    ),
    "no token in it": (Answer(status=200, body='{"expires_in":7200}'), 3),
}


def large(number: int) -> dict[str, Any]:
    """Return an identify of a user of its own."""
    return {
        "type": "identify",
        "messageId": f"large-{number}",
        "userId": f"large-{number}",
        "traits": {
            "email": f"large-{number}@example.com",
            **{f"trait{n}": f"{number} {n} ".ljust(290, "x") for n in range(100)},
        },
    }


@together(cases=REFUSALS)
async def test_wootric_that_refuses_everything_loses_nothing(stack: Stack, answer: Answer) -> None:
    """Lag grows and is seen, nothing becomes a dead letter, and it recovers by itself."""
    worker = stack.worker("w1", **IMPATIENT)
    worker.start()
    await worker.until_logged("partition_opened")
    healthy = stack.wootric.faults
    for path in EVERYTHING:
        stack.wootric.on("*", path, answer, always=True)
    await publish(stack, EVENTS, seed=41)
    began_at = time.monotonic()
    while time.monotonic() - began_at < TROUBLE_S:
        await asyncio.sleep(0.5)
        assert worker.running.poll() is None
    await seen_in_trouble(worker)
    assert not stack.wootric.state.effects
    stack.wootric.faults = type(healthy)()
    if answer.headers.get("Retry-After") == "86400":  # within the hour: no test waits
        waits = [line["wait_s"] for line in worker.logged() if line["event"] == "throttled"]
        assert waits
        assert set(waits) == {3600}
        assert await asyncio.to_thread(worker.stop) == 0
        worker.start()
        await worker.until_ready()
    await end_well(stack, worker)


@together(cases={"instead of the effect": False, "after the effect": True})
async def test_a_maintenance_page_for_everything_loses_and_repeats_nothing(
    stack: Stack, effect: bool
) -> None:
    """Under 200: taken for Wootric's word it was a receipt of what was nowhere."""
    worker = stack.worker("w1", **IMPATIENT)
    worker.start()
    await worker.until_logged("partition_opened")
    healthy = stack.wootric.faults
    page = Answer(status=200, body="<html>We are back in a minute.</html>", effect=effect)
    for path in EVERYTHING:
        stack.wootric.on("*", path, page, always=True)
    await publish(stack, EVENTS, seed=49)

    def pages() -> int:
        return len(stack.wootric.journal.entries)

    await until(lambda: pages() > EVENTS // 4, "many pages", lambda: (pages(), stack.moved()))
    assert worker.running.poll() is None
    stack.wootric.faults = type(healthy)()
    await end_well(stack, worker)


@pytest.mark.slow
@together()
async def test_large_events_are_held_by_their_bytes(stack: Stack) -> None:
    """Nothing can be delivered: not all that is read is in memory."""
    limit = 8 * 2**20
    worker = stack.worker("w1", KAFKA__IN_FLIGHT_BYTES_MAX=str(limit))
    worker.start()
    await worker.until_logged("partition_opened")
    healthy = stack.wootric.faults
    for path in EVERYTHING:
        stack.wootric.on("*", path, Answer(status=503), always=True)
    for first in range(0, LARGE, 500):
        some = [large(number) for number in range(first, first + 500)]
        await asyncio.to_thread(stack.publish, some)
    held = 0.0

    async def full() -> bool:
        nonlocal held
        held = max(held, (await worker.metrics())["wootric_records_in_flight_bytes"])
        return held > limit / 2

    await until(full, "half of the limit is held", lambda: held)
    for _ in range(20):
        await full()
        await asyncio.sleep(0.1)
    assert held < limit + IN_TRANSIT * LARGE_BYTES
    assert psutil.Process(worker.running.pid).memory_info().rss < MEMORY_MB_MAX * 1e6
    stack.wootric.faults = type(healthy)()
    await end_well(stack, worker)


@together(cases={f"{status}": status for status in (500, 502, 503, 504)})
async def test_server_errors_with_and_without_effect_repeat_nothing(
    stack: Stack, status: int
) -> None:
    """Every tenth request or so fails, half of those after their effect."""
    worker = stack.worker("w1")
    worker.start()
    for effect in (True, False):
        for method, path in (
            ("POST", "/v1/end_users"),  # not the probe's GET: it would be met once in 15 seconds
            ("*", "/v1/end_users/*"),
            ("*", "/pixel.gif"),
        ):
            stack.wootric.on(method, path, Answer(status=status, effect=effect), times=4)
    await publish(stack, EVENTS, seed=43)
    await end_well(stack, worker)
    assert not stack.wootric.unused_faults()


@together(cases=TOKEN_TROUBLE)
async def test_a_token_endpoint_in_trouble_loses_nothing(
    stack: Stack, trouble: tuple[Fault, int]
) -> None:
    """Every token is revoked and no good one can be had for a while."""
    fault, times = trouble
    worker = stack.worker("w1")
    worker.start()
    await publish(stack, 100, seed=42)
    await stack.until_caught_up()
    stack.wootric.on("POST", "/oauth/token", fault, times=times)
    stack.wootric.revoke_tokens()
    await publish(stack, 200, seed=44)
    await end_well(stack, worker)
    assert not stack.wootric.unused_faults()


@together()
async def test_tokens_that_expire_under_load_are_renewed_one_at_a_time(stack: Stack) -> None:
    """They live for a second; some end while a request is on its way, and all are revoked twice."""
    behaviour = {"expires_in_s": 1.0, "reply_delay_s": 0.05}
    stack.wootric.behaviour = stack.wootric.behaviour.changed(behaviour)
    worker = stack.worker("w1", WOOTRIC__IN_FLIGHT_MAX="8")
    worker.start()
    await worker.until_logged("partition_opened")
    began_at = time.monotonic()
    for seed in (45, 46, 47):
        await publish(stack, EVENTS, seed)
        await asyncio.sleep(0.5)
        stack.wootric.revoke_tokens()
    await end_well(stack, worker)
    asked = [e for e in stack.wootric.journal.entries if e.path == "/oauth/token"]
    assert len(asked) < 3 * (time.monotonic() - began_at) + 10


@together(cases={"ahead": 300, "behind": -300})
async def test_a_clock_five_minutes_off_waits_as_long_as_it_should(
    stack: Stack, offset_s: int
) -> None:
    """Points in time that Wootric names are measured against its own Date."""
    ahead_s = float(stretched(8))
    soon = time.time() + ahead_s
    for headers in (
        {"Retry-After": formatdate(soon, usegmt=True)},
        {"X-Rate-Limit-Reset": f"{soon:.0f}", "X-Rate-Limit-Remaining": "0"},
    ):
        stack.wootric.on("*", "/v1/*", Answer(status=429, headers=headers), times=2)
    worker = stack.worker("w1", command=COMMAND, CLOCK=json.dumps([[0, offset_s]]))
    worker.start()
    await publish(stack, 100, seed=48)
    await end_well(stack, worker)
    waits = [line["wait_s"] for line in worker.logged() if line["event"] == "throttled"]
    assert waits
    assert max(waits) <= ahead_s
