"""A transaction that somebody leaves open hides what is behind it: that is reported."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import Producer
from stack import Stack, Worker
from test_dry_run import rehearse
from test_service import PATIENT, identify
from test_startup import run
from test_status import status
from waiting import STILL_S, until

from stream.errors import StartupError
from stream.kafka import reader
from stream.kafka.lag import transaction_command
from stream.kafka.producer import record_of
from stream.kafka.reader import TopicReader

OPEN_S = 600
"""The broker would end it itself after this: no test takes so long."""
BLOCKED = "is blocked by an open transaction: "


@asynccontextmanager
async def open_transaction(
    stack: Stack, topic: str, documents: Sequence[dict[str, Any]]
) -> AsyncIterator[Producer]:
    """Leave a transaction open on partition 0 of a topic."""
    producer = Producer(
        {
            "bootstrap.servers": stack.bootstrap_servers,
            "transactional.id": f"{topic}-of-somebody",
            "transaction.timeout.ms": OPEN_S * 1000,
        }
    )
    await asyncio.to_thread(producer.init_transactions, STILL_S)
    producer.begin_transaction()
    for document in documents:
        key, value = record_of(json.dumps(document).encode())
        producer.produce(topic, value, key, partition=0)
    assert await asyncio.to_thread(producer.flush, STILL_S) == 0
    yield producer
    await asyncio.to_thread(producer.close)


async def blocked(stack: Stack, worker: Worker, count: int) -> dict[str, float]:
    """Return the worker's metrics, once so many offsets are blocked."""
    name = f'wootric_consumer_blocked_records{{partition="0",topic="{stack.config.topic}"}}'
    metrics: dict[str, float] = {}

    async def reported() -> bool:
        nonlocal metrics
        metrics = await worker.metrics()
        return metrics.get(name) == count

    await until(reported, f"{count} offsets are blocked", lambda: metrics.get(name))
    return metrics


async def test_what_an_open_transaction_hides_is_reported_by_all_that_look(stack: Stack) -> None:
    """Metric, /status, status, doctor, trace and dry run; and it is delivered once that ends."""
    topic = stack.config.topic
    command = transaction_command(stack.config, topic, 0)
    assert f"describe-producers --topic {topic} --partition 0" in command
    assert f"find-hanging --topic {topic} --partition 0" in command
    stack.publish([identify(1, "before")], partition=0)
    worker = stack.worker("w1", **PATIENT)
    worker.start()
    await stack.until_caught_up()
    await blocked(stack, worker, 0)
    hidden = [identify(2, "inside"), identify(3, "inside too")]
    async with open_transaction(stack, topic, hidden) as producer:
        stack.publish([identify(4, "behind")], partition=0)
        metrics = await blocked(stack, worker, 3)
        lags = [v for k, v in metrics.items() if k.startswith("wootric_consumer_lag_records{")]
        assert set(lags) == {0}

        found: dict[str, Any] = {}

        async def named() -> bool:
            found.update(json.loads((await worker.get("/status"))[1]))
            return bool(found["blocked_by_transaction"])

        await until(named, "/status names the partition", lambda: found)
        assert found["blocked_by_transaction"]["0"]["records"] == 3
        assert found["blocked_by_transaction"]["0"]["find"] == command
        assert found["partitions"]["0"]["blocked"] == 3
        assert found["partitions"]["1"]["blocked"] == 0

        group = await status(stack)
        assert group["verdict"] == "warn"
        assert "1 partition blocked by an open transaction" in group["summary"]
        (text,) = group["blocked_by_transaction"]
        assert f"partition 0 of {topic} {BLOCKED}3 offsets" in text
        assert command in text

        done = await asyncio.to_thread(run, "doctor", env=stack.environment("w1"))
        assert done.returncode == 0, done.stdout
        assert f"partition 0 {BLOCKED}3 offsets" in done.stdout.decode()
        assert command in done.stdout.decode()

        for arguments in (
            ("trace", "inside"),
            ("trace", "behind"),
            ("trace", "--at", "0-3"),
            ("trace", "--user", "u4"),
        ):
            done = await asyncio.to_thread(run, *arguments, env=stack.environment("w1"))
            assert done.returncode == 1, done.stdout
            said = (done.stdout + done.stderr).decode()
            assert BLOCKED in " ".join(said.split()), said
        lines, said = await rehearse(stack)
        assert lines == []
        assert f"{BLOCKED}3 offsets" in said
        await asyncio.to_thread(producer.commit_transaction, STILL_S)
    await blocked(stack, worker, 0)
    await stack.until_caught_up()
    users = [user.external_id for user in stack.wootric.state.end_users.values()]
    assert sorted(users) == ["u1", "u2", "u3", "u4"]
    assert await asyncio.to_thread(worker.stop) == 0


@pytest.mark.parametrize("role", ["ledger_topic", "dead_letter_topic"])
async def test_a_command_that_needs_what_is_hidden_ends_and_says_why(
    stack: Stack, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits as long as a worker that has died may leave its own transaction open."""
    monkeypatch.setattr(reader, "SCAN_S", -stack.config.transaction_timeout_s)
    topic = getattr(stack.config, role)
    async with open_transaction(stack, topic, [identify(1, "m1")]):
        survey = TopicReader(stack.config)
        try:
            with pytest.raises(StartupError) as caught:
                await asyncio.to_thread(lambda: list(survey.read(topic)))
        finally:
            survey.close()
    assert caught.value.exit_code == 75
    assert f"partition 0 of {topic} {BLOCKED}1 offsets" in str(caught.value)
