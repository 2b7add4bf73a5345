"""One event at a time: from its record to its request, on a system that has nothing else to do."""

import asyncio
import json
import random
import time
from itertools import islice
from typing import Any

from confluent_kafka import Producer
from rich.console import Console

from stream.kafka.producer import record_of
from tests.bench.ground import Ground, worker_of
from tests.bench.traces import distinct, named

EVENTS = 300
PAUSE_S = (0.04, 0.12)
"""Drawn at random, so that no pause beats in time with the service's cycle."""


async def measure(ground: Ground) -> dict[str, Any]:
    """Return how long it took, in ms: from the call that produces a record to its request."""
    with ground.laid(journal=True) as (stack, server):
        worker = worker_of(stack)
        worker.start()
        await worker.until_ready()
        producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "linger.ms": 0})
        dice = random.Random(2)
        sent: dict[tuple[str, int], float] = {}
        for position, document in enumerate(islice(distinct(EVENTS + 20, 2), EVENTS + 20)):
            key, value = record_of(json.dumps(document).encode())
            if position >= 20:  # the first ones open connections
                sent[named(document)] = time.time()
            producer.produce(stack.config.topic, key=key, value=value)
            producer.poll(0)
            await asyncio.sleep(dice.uniform(*PAUSE_S))
        producer.flush()
        await stack.until_caught_up()
        arrived = {(user, number): at for at, user, number in server.arrivals()}
        worker.stop()
    took = sorted((arrived[event] - at) * 1000 for event, at in sent.items())
    at = {name: took[round(share * (len(took) - 1))] for name, share in SHARES.items()}
    return {"events": len(took), **at}


SHARES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}


def show(found: dict[str, Any], out: Console) -> None:
    out.print(
        f"one event at a time, record to Wootric: p50 {found['p50_ms']:.0f} ms, "
        f"p99 {found['p99_ms']:.0f} ms, slowest {found['max_ms']:.0f} ms ({found['events']} events)"
    )
