"""What an on-call engineer sees of a worker, on a real Kafka and under load."""

import asyncio
import sys
import time
from pathlib import Path

from stack import Stack, Worker
from test_service import PATIENT, identify, response
from waiting import until
from with_constants import command, constants

from stream.kafka.topics import topic_configs


def accounts(metrics: dict[str, float]) -> tuple[float, float]:
    """Return what was consumed, and what became of it."""

    def total(name: str) -> float:
        return sum(value for key, value in metrics.items() if key.split("{")[0] == name)

    return total("wootric_records_consumed_total"), (
        total("wootric_records_settled_total")
        + total("wootric_records_relinquished_total")
        + total("wootric_records_in_flight")
    )


async def watch(worker: Worker, seen: list[dict[str, float]]) -> None:
    while True:
        metrics = await worker.metrics()
        consumed, accounted = accounts(metrics)
        assert consumed == accounted
        assert metrics["wootric_records_unaccounted"] == 0
        seen.append(metrics)
        await asyncio.sleep(0.02)


async def test_every_scrape_adds_up_under_load_and_over_a_rebalance(stack: Stack) -> None:
    """Consumed is settled plus relinquished plus in flight, also while partitions move."""
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"reply_delay_s": 0.02})
    hurried = constants(stream__runtime__worker__REVOKE_TIMEOUT_S=0.05)
    first = stack.worker("w1", command=command("run"), **hurried)
    second = stack.worker("w2")
    first.start()
    await first.until_ready()
    seen: list[dict[str, float]] = []
    watching = asyncio.create_task(watch(first, seen))
    await asyncio.to_thread(stack.publish, [response(n, f"m{n}", n % 11) for n in range(1500)])
    second.start()
    await second.until_logged('"partition_opened"')
    often = "the first one is looked at often"
    await until(lambda: watching.done() or len(seen) > 20, often, lambda: len(seen))
    await asyncio.to_thread(stack.publish, [response(n, f"n{n}", n % 11) for n in range(500)])
    await stack.until_caught_up()
    assert not watching.done(), watching.exception()
    watching.cancel()
    assert len(seen) > 20
    assert max(metrics["wootric_records_in_flight"] for metrics in seen) > 50
    last = await first.metrics()
    assert last['wootric_consumer_rebalances_total{event="revoked"}'] > 0
    texts = [r.text for r in stack.wootric.state.responses.values()]
    assert len(texts) == len(set(texts)) == 2000
    assert await asyncio.to_thread(second.stop) == 0


async def test_a_worker_shows_where_it_stands(stack: Stack) -> None:
    """Offsets, headroom, tokens, process and loop: what the alerts and dashboards read."""
    began_at = time.time()
    worker = stack.worker(LOG__LEVEL="DEBUG", **PATIENT)
    worker.start()
    stack.publish([identify(1, "m1"), identify(2, "m2"), response(3, "m3", 11)])
    await stack.until_caught_up()

    async def known() -> bool:
        names = await worker.metrics()
        return any(name.startswith("wootric_consumer_retention") for name in names)

    await until(known, "the retention is known", worker.said)
    metrics = await worker.metrics()
    by_name: dict[str, list[float]] = {}
    for name, value in metrics.items():
        by_name.setdefault(name.split("{")[0], []).append(value)
    kept_ms = int(
        topic_configs(stack.admin, [stack.config.topic])[stack.config.topic]["retention.ms"]
    )
    assert set(by_name["wootric_consumer_retention_headroom_seconds"]) == {kept_ms / 1000}
    assert by_name["wootric_consumer_committed_offset"] == by_name["wootric_partition_end_offset"]
    assert by_name["wootric_consumer_position_offset"] == by_name["wootric_partition_end_offset"]
    assert metrics['wootric_sink_token_renewals_total{outcome="granted"}'] == 1
    assert began_at < by_name["wootric_consumer_last_poll_timestamp_seconds"][0] < time.time()
    assert by_name["wootric_records_consumed_bytes_total"][0] > 100
    assert by_name["process_resident_memory_bytes"][0] > 10e6
    assert by_name["wootric_event_loop_lag_seconds_count"][0] > 0
    assert "python_gc_collections_total" in by_name
    assert len(by_name["wootric_config_info"]) == 1
    assert metrics['wootric_log_events_total{event="started",level="info"}'] == 1
    assert worker.stop() == 0
    assert {"started", "partition_opened", "committed", "stopped"} <= {
        line["event"] for line in worker.logged()
    }
    said = worker.log.read_text()
    assert "example.com" not in said
    assert '"u3"' not in said


TIDY_OFTEN = """
import sys
from stream.runtime import worker
from stream.cli.app import main
worker.COLLECT_EVERY_S = 0.2
sys.argv = ["wootric-stream", "run"]
main()
"""


async def test_a_worker_tidies_its_memory_while_it_runs(stack: Stack, tmp_path: Path) -> None:
    """By itself it would come to a full collection once in hours."""
    launcher = tmp_path / "tidy_often.py"
    launcher.write_text(TIDY_OFTEN)
    worker = stack.worker(command=(sys.executable, str(launcher)))
    worker.start()
    await worker.until_ready()
    full = 'python_gc_collections_total{generation="2"}'
    before = (await worker.metrics())[full]

    async def tidied() -> bool:
        return (await worker.metrics())[full] >= before + 3

    await until(tidied, "it has collected everything three times")
