"""Traces: from the record's headers through transform and requests, to a collector over HTTP."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import aiohttp
import pytest
from confluent_kafka import Producer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stack import Stack
from test_service import PATIENT, identify, response
from waiting import STILL_S, until

from stream.kafka.producer import record_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Collector(HTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def of_trace(self, trace: str) -> list:
        return [span for span in self.spans if span.trace_id.hex() == trace]


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def publish(stack: Stack, documents: list[dict], trace: str) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    headers = [("traceparent", f"00-{trace}-{PARENT}-01".encode()), ("tracestate", b"a=1")]
    for document in documents:
        key, value = record_of(json.dumps(document).encode())
        producer.produce(stack.config.topic, key=key, value=value, headers=headers)
    assert producer.flush(STILL_S) == 0


async def test_a_trace_goes_through_transform_request_and_dead_letter(
    stack: Stack, collector: Collector
) -> None:
    """One trace a record: transform, delivery, each request; the letter keeps its headers."""
    worker = stack.worker(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="200", **PATIENT
    )
    worker.start()
    bad = TRACE.replace("4", "5")
    await asyncio.to_thread(publish, stack, [identify(1, "m1")], TRACE)
    await asyncio.to_thread(publish, stack, [response(2, "m2", 11)], bad)
    await stack.until_caught_up()
    await until(
        lambda: len(collector.of_trace(TRACE)) >= 4 and collector.of_trace(bad),
        "the spans of both records are there",
        lambda: len(collector.spans),
    )
    spans = {span.name: span for span in collector.of_trace(TRACE)}
    transform, deliver = spans[f"transform {stack.config.topic}"], spans["deliver upsert_end_user"]
    assert transform.parent_span_id.hex() == PARENT
    assert deliver.parent_span_id == transform.span_id
    requests = [span for name, span in spans.items() if name.startswith("wootric ")]
    assert {"wootric find_end_user", "wootric create_end_user"} <= spans.keys()
    assert {span.parent_span_id for span in requests} == {deliver.span_id}
    assert all(span.start_time_unix_nano < span.end_time_unix_nano for span in requests)
    (refused,) = collector.of_trace(bad)
    attributes = {one.key: one.value.string_value for one in refused.attributes}
    assert attributes["wootric.reason"] == "invalid_score"
    (letter,) = stack.read(stack.config.dead_letter_topic)
    assert ("traceparent", f"00-{bad}-{PARENT}-01".encode()) in letter.headers()
    assert ("tracestate", b"a=1") in letter.headers()
    assert "example.com" not in str(collector.spans)
    accept = {"Accept": "application/openmetrics-text"}
    async with (
        aiohttp.ClientSession(headers=accept) as session,
        session.get(f"http://127.0.0.1:{worker.port}/metrics") as reply,
    ):
        text = await reply.text()
    marked = [line for line in text.splitlines() if f'# {{trace_id="{TRACE}"}}' in line]
    assert any(line.startswith("wootric_end_to_end_latency_seconds_bucket") for line in marked)
    assert any(line.startswith("wootric_sink_request_duration_seconds_bucket") for line in marked)
    assert await asyncio.to_thread(worker.stop) == 0


async def test_a_collector_that_is_away_holds_nothing_up(stack: Stack) -> None:
    """Spans are dropped, events are not, and nobody complains on stderr."""
    worker = stack.worker(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    worker.start()
    stack.publish(identify(n, f"m{n}") for n in range(20))
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    lines = worker.log.read_text().splitlines()
    assert not [line for line in lines if not line.startswith(("{", "%"))]  # % is Kafka's client


def test_nothing_of_it_is_loaded_without_tracing() -> None:
    """No cost where it is off, and no need to install it."""
    script = "import sys, stream.runtime.worker; print([m for m in sys.modules if 'opentel' in m])"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, check=True, timeout=STILL_S)
    assert done.stdout == b"[]\n"
