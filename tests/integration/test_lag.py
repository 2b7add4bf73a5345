"""The group's lag from outside: with a worker, without one, behind an open transaction."""

import asyncio
import sys
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from stack import Stack, Worker
from test_service import identify, response
from test_startup import run
from waiting import STILL_S, until

from stream.codec.dead_letter import NOTE_HEADER, DeadLetter
from stream.errors import KafkaUnavailableError
from stream.kafka import open_letters
from stream.kafka.metadata import Group
from stream.kafka.open_letters import LetterMeter
from stream.record import Partition

EXPORTER = (sys.executable, "-m", "stream", "lag-exporter", "--every", "1")

Metrics = dict[str, float]


async def metrics_once(exporter: Worker, holds: Callable[[Metrics], bool], what: str) -> Metrics:
    """Return the metrics, once they are so."""
    metrics: Metrics = {}

    async def told() -> bool:
        nonlocal metrics
        metrics = await exporter.metrics()
        return holds(metrics)

    await until(told, f"the exporter says {what}", lambda: (lag(metrics), exporter.said()))
    return metrics


def lag(metrics: Metrics) -> float:
    return sum(v for k, v in metrics.items() if k.startswith("wootric_group_lag_records{"))


def oldest(metrics: Metrics) -> float:
    return max(v for k, v in metrics.items() if k.startswith("wootric_group_lag_seconds{"))


async def test_the_lag_is_told_with_and_without_a_worker(stack: Stack) -> None:
    """Nobody lives: all of it. Caught up: none, though transactions leave marks. Killed: again."""
    exporter = stack.worker("exporter", command=EXPORTER)
    exporter.start()
    began_at = time.time()
    await asyncio.to_thread(stack.publish, [identify(n, f"m{n}") for n in range(30)])
    await exporter.until_ready()
    metrics = await metrics_once(exporter, lambda found: lag(found) == 30, "behind")
    assert 0 < oldest(metrics) < time.time() - began_at + 1
    assert metrics["wootric_group_members"] == 0
    assert not any(name.startswith("wootric_group_committed_offset{") for name in metrics)
    assert (await exporter.get("/livez"))[0] == 200
    worker = stack.worker("w1")
    worker.start()
    await stack.until_caught_up()
    metrics = await metrics_once(exporter, lambda found: lag(found) == 0, "caught up")
    assert oldest(metrics) == 0
    assert metrics["wootric_kafka_up"] == 1
    assert metrics["wootric_group_members"] == 1
    assert metrics['wootric_group_state{state="stable"}'] == 1
    worker.kill()
    await asyncio.to_thread(stack.publish, [identify(n, f"n{n}") for n in range(7)])
    metrics = await metrics_once(exporter, lambda found: lag(found) == 7, "behind again")
    later = await metrics_once(
        exporter, lambda found: oldest(found) > oldest(metrics), "growing older"
    )
    assert lag(later) == 7
    headroom = [v for k, v in later.items() if k.startswith("wootric_group_retention_headroom")]
    assert len(headroom) == stack.partitions
    assert exporter.stop() == 0


async def test_open_dead_letters_are_counted_until_somebody_acts(stack: Stack) -> None:
    """Their age is that of the oldest; a note ends it, and another program's records are none."""
    dead = stack.config.dead_letter_topic
    count, age, left = (
        f'wootric_group_dead_letters_{name}{{topic="{dead}"}}'
        for name in ("open", "oldest_seconds", "headroom_seconds")
    )
    foreign = Producer({"bootstrap.servers": stack.bootstrap_servers})
    foreign.produce(dead, b"no letter", b"key")
    assert foreign.flush(STILL_S) == 0
    worker, exporter = stack.worker("w1"), stack.worker("exporter", command=EXPORTER)
    worker.start()
    exporter.start()
    await exporter.until_ready()
    metrics = await metrics_once(exporter, lambda found: found.get(count) == 0, "none is open")
    assert (metrics[age], metrics[left]) == (0, float("inf"))
    stack.publish([response(1, "m1", 11), response(2, "m2", 12)])
    await stack.until_caught_up()
    metrics = await metrics_once(exporter, lambda found: found.get(count) == 2, "two are open")
    assert 0 < metrics[age] < metrics[left] < 30 * 86_400
    dismissal = ("dlq", "dismiss", "--reason", "invalid_score", "--yes")
    done = await asyncio.to_thread(run, *dismissal, env=stack.environment("operator"))
    assert done.returncode == 0, done.stderr
    metrics = await metrics_once(exporter, lambda found: found.get(count) == 0, "none is left")
    assert metrics[left] == float("inf")


async def test_more_open_letters_than_are_kept_are_counted_again_once_there_is_room(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is with a topic that was made anew: positions of the old one say nothing."""
    monkeypatch.setattr(open_letters, "OPEN_MAX", 2)
    topic = stack.config.dead_letter_topic
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})

    async def counted(count: int) -> None:
        assert producer.flush(STILL_S) == 0

        def found() -> int:
            try:
                letters = meter.measure().get(topic)
            except KafkaUnavailableError:  # a new topic's leader is not everywhere known yet
                return -1
            return -1 if letters is None else letters.count

        await until(lambda: asyncio.to_thread(lambda: found() == count), f"{count} are open")

    group = Group(stack.config)
    meter = LetterMeter(stack.config, group)
    letter = DeadLetter(
        key=b"k",
        value=b"v",
        reason="invalid_score",
        detail="",
        origin=Partition(stack.config.topic, 0),
        offset=0,
        failed_at_ms=0,
        app_version="0",
    )
    for _ in range(3):
        producer.produce(topic, b"v", b"k", partition=0, headers=letter.headers())
    await counted(2)
    for place in ("0-0", "0-1"):
        producer.produce(topic, None, b"k", partition=0, headers={NOTE_HEADER: place.encode()})
    await counted(1)
    stack.admin.delete_topics([topic])[topic].result()
    await asyncio.to_thread(stack.create_topics)
    await counted(0)
    group.close()


async def test_what_an_open_transaction_holds_back_is_no_lag(stack: Stack) -> None:
    """Nobody can read it yet; once it is aborted there is still nothing to read."""
    producer = Producer(
        {"bootstrap.servers": stack.bootstrap_servers, "transactional.id": stack.config.group_id}
    )
    await asyncio.to_thread(producer.init_transactions, STILL_S)
    producer.begin_transaction()
    producer.produce(stack.config.topic, partition=0, value=b"held back")
    assert producer.flush(STILL_S) == 0
    exporter = stack.worker("exporter", command=EXPORTER)
    exporter.start()
    await exporter.until_ready()
    hidden = f'wootric_group_blocked_records{{partition="0",topic="{stack.config.topic}"}}'
    metrics = await metrics_once(exporter, lambda found: found[hidden] == 1, "blocked")
    assert lag(metrics) == 0
    await asyncio.to_thread(producer.abort_transaction)
    end = f'wootric_group_end_offset{{partition="0",topic="{stack.config.topic}"}}'
    metrics = await metrics_once(exporter, lambda found: found[end] == 2, "aborted")
    assert (lag(metrics), oldest(metrics), metrics[hidden]) == (0, 0, 0)
    assert exporter.stop() == 0


async def test_an_exporter_without_kafka_lives_and_is_not_ready(stack: Stack) -> None:
    """It must not be started anew for an outage that it is there to report."""
    unreachable = {"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "HTTP__BEARER_TOKEN": "x" * 16}
    exporter = stack.worker("e", command=EXPORTER, **unreachable)
    exporter.start()
    await exporter.until_logged('"lag_not_measured"')
    assert (await exporter.get("/livez"))[0] == 200
    assert (await exporter.get("/readyz"))[0] == 503
    assert (await exporter.get("/metrics", authorized=False))[0] == 401
    metrics = await exporter.metrics()
    assert metrics["wootric_group_measure_failures_total"] >= 1
    assert metrics["wootric_kafka_up"] == 0
    assert exporter.stop() == 0
