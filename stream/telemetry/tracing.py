"""OpenTelemetry traces: from a record's ``traceparent`` through transform and requests.

Imported only if tracing is on, since it needs the extra ``tracing``.
"""

import asyncio
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import assert_never

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stream import __version__
from stream.engine.lanes import PendingRequest
from stream.engine.prepare import Invalid, PreparedRecord
from stream.record import Deliver, Record, Skip

REMEMBERED_MAX = 50_000
CLOSE_S_MAX = 3.0
LINKS_MAX = 32
GOOD = frozenset({"executed", "delivered", "skipped"})


class Tracer:
    """Creates spans from the observer's events, without personal data.

    OpenTelemetry's variables configure the exporter, the sampler and the resource.
    """

    def __init__(self, *, instance: str) -> None:
        # An unavailable collector must not cause foreign lines on stderr.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME", "wootric-stream"),
                "service.version": __version__,
                "service.instance.id": instance,
            }
        )
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("wootric-stream", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._contexts: OrderedDict[tuple[int, int], SpanContext] = OrderedDict()

    async def close(self) -> None:
        """Send the remaining spans, for at most ``CLOSE_S_MAX`` if the collector is unavailable."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is already closed
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="last-spans", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), CLOSE_S_MAX)

    def judging(
        self, judge: Callable[[Record], PreparedRecord]
    ) -> Callable[[Record], PreparedRecord]:
        """Return ``judge`` with a span around each call."""

        def judged(record: Record) -> PreparedRecord:
            with self._tracer.start_as_current_span(
                f"transform {record.partition.topic}",
                context=self._context_of(record),
                kind=SpanKind.CONSUMER,
                attributes={
                    "messaging.system": "kafka",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": record.partition.topic,
                    "messaging.destination.partition.id": str(record.partition.number),
                    "messaging.kafka.offset": record.offset,
                },
            ) as span:
                event = judge(record)
                match event.result:
                    case Deliver():
                        self._remember(record, span.get_span_context())
                        span.set_attribute("wootric.verdict", "deliver")
                    case Skip(reason):
                        span.set_attribute("wootric.verdict", "skip")
                        span.set_attribute("wootric.reason", reason)
                    case Invalid(reason, _):
                        span.set_attribute("wootric.verdict", "refuse")
                        span.set_attribute("wootric.reason", reason)
                        span.set_status(Status(StatusCode.ERROR, reason))
                    case _:
                        assert_never(event.result)
                return event

        return judged

    @contextmanager
    def delivering(self, request: PendingRequest) -> Iterator[None]:
        """Create the span of a delivery in the trace of its first event, with links to the rest."""
        contexts = [
            context
            for member in request.events[:LINKS_MAX]
            if (context := self._contexts.get(_position(member.record))) is not None
        ]
        parent = _parent(contexts[0]) if contexts else Context()
        with self._tracer.start_as_current_span(
            f"deliver {request.require_operation().type}",
            context=parent,
            links=[Link(context) for context in contexts[1:]],
            attributes={
                "wootric.events": len(request.events),
                "wootric.request_id": request.request_id,
                "wootric.in_doubt": request.in_doubt,
            },
        ):
            yield

    def delivered(self, request: PendingRequest, outcome: str, reason: str | None) -> None:
        """Add the outcome to the delivery's span."""
        span = trace.get_current_span()
        span.set_attribute("wootric.outcome", outcome)
        if reason is not None:
            span.set_attribute("wootric.reason", reason)
        if outcome not in GOOD:
            span.set_status(Status(StatusCode.ERROR, outcome))
        if outcome not in {"deferred", "in_doubt"}:
            for member in request.events:
                self._contexts.pop(_position(member.record), None)

    def request_finished(self, name: str, word: str, status: int | None, seconds: float) -> None:
        """Create the span of a finished request, inside the delivery's span."""
        now_ns = time.time_ns()
        span = self._tracer.start_span(
            f"wootric {name}", kind=SpanKind.CLIENT, start_time=now_ns - int(seconds * 1e9)
        )
        span.set_attribute("wootric.verdict", word)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if word not in GOOD:
            span.set_status(Status(StatusCode.ERROR, word))
        span.end(now_ns)

    def exemplar(self) -> dict[str, str] | None:
        """Return the exemplar of a histogram value: its trace id; None if not sampled."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid or not context.trace_flags.sampled:
            return None
        return {"trace_id": f"{context.trace_id:032x}"}

    def _context_of(self, record: Record) -> Context:
        carrier = {
            name: value.decode("ascii", "replace")
            for name, value in record.headers
            if name in {"traceparent", "tracestate"} and value is not None
        }
        return self._propagator.extract(carrier, context=Context())

    def _remember(self, record: Record, context: SpanContext) -> None:
        self._contexts[_position(record)] = context
        if len(self._contexts) > REMEMBERED_MAX:
            self._contexts.popitem(last=False)


def _position(record: Record) -> tuple[int, int]:
    return record.partition.number, record.offset


def _parent(context: SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())
