"""The webhook's request handler; it responds with 200 after Kafka has acknowledged all events."""

import asyncio
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import orjson
import structlog
from aiohttp import ClientError, HttpVersion11, web

from stream.bridge.admission import Admission, SharedCapacity, network
from stream.bridge.payload import (
    ReceivedEvent,
    RequestRejectedError,
    Target,
    arrivals,
    check_length,
    inflate,
    read_events,
)
from stream.bridge.signature import Verifier
from stream.codec.dead_letter import DeadLetter
from stream.kafka.producer import AsyncProducer, NotAcknowledgedError
from stream.telemetry.metrics import BridgeMetrics


class Lease:
    """The bytes in memory of one request; released at the end of the context."""

    def __init__(self, memory: SharedCapacity, address: str) -> None:
        self._memory = memory
        self._address = address
        self._bytes = 0

    def take(self, count: int) -> None:
        """Reserve ``count`` more bytes. Raises RequestRejectedError if too many are in use."""
        if not self._memory.take(self._address, count):
            raise RequestRejectedError("busy", "too many bytes are in flight; retry later")
        self._bytes += count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._memory.release(self._address, self._bytes)


log = structlog.get_logger()

PATH = "/v1/events"
RETRY_AFTER_S = 5
EVENTS_AT_ONCE = 50
"""Events encoded before yielding to other tasks: some milliseconds of work."""
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
"""Names of UTF-8 and of its subset ASCII."""
GZIP = frozenset({"gzip", "x-gzip"})
"""Source: RFC 9110, 8.4.1.3."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A body as sent, and its JSON text; the same if it is not compressed."""

    sent: bytes
    text: bytes


class Webhook:
    """Handles Segment's requests.

    200: all events are in Kafka, those that break a rule as dead letters. 400, 401, 404, 405, 408,
    413, 415: none is. 503: some may be; retrying is safe, since the same messageIds have no second
    effect.
    """

    def __init__(
        self,
        *,
        verifier: Verifier,
        target: Target,
        producer: AsyncProducer,
        admission: Admission,
        body_timeout_s: float,
        max_age_s: int = 0,
        metrics: BridgeMetrics,
    ) -> None:
        self._verifier = verifier
        self._target = target
        self._producer = producer
        self._admission = admission
        self._body_timeout_s = body_timeout_s
        self._max_age_s = max_age_s
        self._metrics = metrics

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Return the response to a request; never raises except on cancellation."""
        self._metrics.requests_in_flight.inc()
        try:
            records = await self._take(request)
        except RequestRejectedError as refusal:
            self._metrics.refused.labels(refusal.reason).inc()
            response = _refusal(refusal)
            if _expects_continue(request) and not request.content.at_eof():
                response.force_close()  # it may now send another request, or the body anyway
            return response
        except Exception as error:  # noqa: BLE001  the entry point: no payload may be logged
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("request_failed", error=type(error).__name__, where=where)  # noqa: TRY400
            return _json({"error": "internal"}, 500)
        finally:
            self._metrics.requests_in_flight.dec()
        return _accepted(records)

    async def _take(self, request: web.BaseRequest) -> list[ReceivedEvent | DeadLetter]:
        signature = self._check_head(request)
        address = network(request.remote)
        with Lease(self._admission.memory, address) as lease:
            body = await self._read(request, lease)
            self._verifier.check(signature, body.text, sent=body.sent)
            records = await self._encode(body.text)
            self._admission.refusals.signed(address)
            await self._produce(records)
        return records

    def _check_head(self, request: web.BaseRequest) -> bytes:
        """Return the signature.

        Raises:
            RequestRejectedError: the head is invalid; the body is not read.
        """
        if request.path != PATH:
            raise RequestRejectedError("not_found", f"POST events to {PATH}")
        if request.method != "POST":
            raise RequestRejectedError("method", "only POST is allowed")
        if request.content_type != "application/json" or _charset(request) not in CHARSETS:
            raise RequestRejectedError("media_type", "the body must be application/json in UTF-8")
        if _encoding(request) not in GZIP | {"identity"}:
            raise RequestRejectedError("encoding", "the body may be compressed with gzip only")
        check_length(request.content_length or 0)
        return self._verifier.check_form(request.headers.get("X-Signature"))

    async def _read(self, request: web.BaseRequest, lease: Lease) -> Body:
        """Read the body in pieces, so that a slow sender reserves only the bytes it has sent."""
        sent = bytearray()
        try:
            async with asyncio.timeout(self._body_timeout_s):
                if _expects_continue(request):
                    await request.writer.write(CONTINUE)
                    request.writer.output_size = 0  # of the response, which has not begun
                async for piece in request.content.iter_any():
                    check_length(len(sent) + len(piece))
                    lease.take(len(piece))
                    sent += piece
        except TimeoutError:
            raise RequestRejectedError("too_slow", "the body did not arrive in time") from None
        except (ClientError, ConnectionError, web.RequestPayloadError):
            raise RequestRejectedError("broken_off", "the body did not arrive completely") from None
        if _encoding(request) == "identity":
            return Body(sent=bytes(sent), text=bytes(sent))
        text = inflate(bytes(sent))
        lease.take(len(text))
        return Body(sent=bytes(sent), text=text)

    async def _encode(self, text: bytes) -> list[ReceivedEvent | DeadLetter]:
        records: list[ReceivedEvent | DeadLetter] = []
        found = arrivals(
            read_events(text),
            self._target,
            int(time.time() * 1000),
            text_bytes=len(text),
            max_age_s=self._max_age_s,
        )
        for record in found:
            records.append(record)
            if len(records) % EVENTS_AT_ONCE == 0:
                await asyncio.sleep(0)
        if all(isinstance(one, DeadLetter) and one.reason == "too_old" for one in records):
            detail = "the events are older than BRIDGE__MAX_AGE_S allows, by sentAt"
            raise RequestRejectedError("too_old", detail)
        return records

    async def _produce(self, records: list[ReceivedEvent | DeadLetter]) -> None:
        began_at = time.perf_counter()
        try:
            await self._producer.send(
                [one if isinstance(one, DeadLetter) else (one.key, one.value) for one in records]
            )
        except NotAcknowledgedError as error:
            self._metrics.produce_errors.labels(error.error).inc()
            raise RequestRejectedError(
                "unavailable", "Kafka did not acknowledge all events; retry"
            ) from None
        self._metrics.ack_seconds.observe(time.perf_counter() - began_at)
        kinds = Counter(one.type for one in records if isinstance(one, ReceivedEvent))
        reasons = Counter(one.reason for one in records if isinstance(one, DeadLetter))
        for kind, count in kinds.items():
            self._metrics.events_accepted.labels(kind).inc(count)
        for reason, count in reasons.items():
            self._metrics.events_rejected.labels(reason).inc(count)


def _charset(request: web.BaseRequest) -> str:
    return (request.charset or "utf-8").lower()


def _encoding(request: web.BaseRequest) -> str:
    return request.headers.get("Content-Encoding", "identity").strip().lower() or "identity"


def _expects_continue(request: web.BaseRequest) -> bool:
    """Return whether the sender waits for a go-ahead before the body. Source: RFC 9110, 10.1.1."""
    expected = request.headers.get("Expect", "").strip().lower()
    return expected == "100-continue" and request.version == HttpVersion11


def _accepted(records: list[ReceivedEvent | DeadLetter]) -> web.Response:
    """Return the response to a request whose events are in Kafka, with the first dead letter."""
    rejected = [one for one in records if isinstance(one, DeadLetter)]
    body: dict[str, object] = {"accepted": len(records) - len(rejected)}
    if rejected:
        first = rejected[0]
        body |= {"rejected": len(rejected), "event": first.offset, "detail": first.detail}
    return _json(body, 200)


def _refusal(refusal: RequestRejectedError) -> web.Response:
    body: dict[str, object] = {"error": refusal.reason, "detail": refusal.detail}
    response = _json(body, refusal.status)
    if refusal.status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    if refusal.status == 405:
        response.headers["Allow"] = "POST"
    return response


def _json(body: dict[str, object], status: int) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
