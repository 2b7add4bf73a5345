"""Wootric that refuses, for longer than a request has patience, under a live worker."""

import asyncio
import time

import pytest
from oracle import complaints
from stack import Stack

from sink.wootric.emulator import Answer
from stream.local.traffic import traffic

EVENTS = 300
TROUBLE_S = 8.0
EVERYTHING = ("/v1/*", "/pixel.gif")

REFUSALS = {
    "429 for seconds": Answer(status=429, headers={"Retry-After": "1"}),
    "429 until a date": Answer(
        status=429, headers={"Retry-After": "Tue, 24 Nov 2026 00:00:00 GMT"}
    ),
    "429 without a word": Answer(status=429),
    "429 with garbage": Answer(status=429, headers={"Retry-After": "soon"}),
    "401": Answer(status=401),
    "403": Answer(status=403),
    "402": Answer(status=402),
    "503 before the effect": Answer(status=503, headers={"Retry-After": "1"}),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("answer", REFUSALS.values(), ids=list(REFUSALS))
async def test_wootric_that_refuses_everything_loses_nothing(stack: Stack, answer: Answer) -> None:
    """Lag grows and is seen, nothing becomes a dead letter, and it recovers by itself."""
    worker = stack.worker("w1", WOOTRIC__IN_FLIGHT_MAX="16")
    worker.start()
    await worker.until_logged("partition_opened")
    healthy = stack.wootric.faults
    for path in EVERYTHING:
        stack.wootric.on("*", path, answer, always=True)
    samples = list(traffic(events=EVENTS, seed=41, users=60))
    await asyncio.to_thread(stack.publish, [sample.value for sample in samples])
    began_at = time.monotonic()
    while time.monotonic() - began_at < TROUBLE_S:
        await asyncio.sleep(0.5)
        assert worker.running.poll() is None
    metrics = await worker.metrics()
    assert sum(v for k, v in metrics.items() if k.startswith("wootric_consumer_lag_records")) > 50
    assert metrics['wootric_consumer_rebalances_total{event="assigned"}'] == 1
    assert not stack.wootric.state.effects
    stack.wootric.faults = type(healthy)()
    await stack.until_caught_up(90)
    assert await asyncio.to_thread(worker.stop) == 0
    assert await complaints(stack) == []


@pytest.mark.timeout(120)
async def test_a_token_endpoint_that_is_down_loses_nothing(stack: Stack) -> None:
    """Every token is revoked and no new one can be had for a while."""
    worker = stack.worker("w1")
    worker.start()
    samples = list(traffic(events=EVENTS, seed=42, users=60))
    await asyncio.to_thread(stack.publish, [sample.value for sample in samples[:100]])
    await stack.until_caught_up()
    stack.wootric.on("POST", "/oauth/token", Answer(status=503), times=12)
    stack.wootric.revoke_tokens()
    await asyncio.to_thread(stack.publish, [sample.value for sample in samples[100:]])
    await stack.until_caught_up(90)
    assert await asyncio.to_thread(worker.stop) == 0
    assert await complaints(stack) == []
