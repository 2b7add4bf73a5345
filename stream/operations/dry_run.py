"""`run --dry-run`: show what the service would send for the waiting records, and send nothing.

Runs the service's task manager and sink with a transport that records requests
(``sink.wootric.dry_run``). Reads Kafka without joining a group.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, assert_never

from sink.delivery import Outcome
from sink.wootric.dry_run import RecordedRequest, RecordingTransport
from sink.wootric.operations import read_operation
from sink.wootric.sink import WootricSink
from stream.codec.event import Event, event_from_parsed
from stream.codec.json_text import Broken, Document, ReadResult, read_documents
from stream.engine.lanes import PendingEvent, PendingRequest
from stream.engine.limits import ReleaseBudget
from stream.engine.prepare import Invalid, PreparedRecord
from stream.engine.task_manager import TaskManager
from stream.errors import DecodeError, StartupError
from stream.kafka.lag import blocked_text
from stream.kafka.reader import CommittedReader
from stream.operations.output import json_line
from stream.record import Partition, Record
from stream.runtime.worker import (
    engine_config,
    kafka_config,
)
from stream.schema_registry.setup import schema_fetcher
from stream.settings_loader import Settings, load_transform
from stream.transform.explain import preview, refused
from stream.wootric import transform_rules, wootric_account, wootric_preparer

Line = dict[str, Any]
OUTCOMES = {"skipped": "skip", "rejected": "reject", "parked": "park", "duplicate": "duplicate"}
ROOM = ReleaseBudget(limited=1_000_000, unlimited=1_000_000)
PIXEL = "page_view"


@dataclass(slots=True)
class Summary:
    """Counts of a dry run."""

    events: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    blocked: list[str] = field(default_factory=list)
    """What could not be read, because an open transaction blocks it."""

    def lines(self) -> Iterator[str]:
        """Yield the summary as lines of text."""
        yield f"{self.events} events; nothing was sent, nothing was committed"
        for outcome, count in sorted(self.outcomes.items()):
            yield f"  {count:>8}  {outcome}"
        api = self.requests.total() - self.requests[PIXEL]
        per_event = f"{api / self.events:.2f}" if self.events else "0"
        yield f"{api} API requests at most, {per_event} per event; {self.requests[PIXEL]} pixels"
        for name, count in sorted(self.requests.items()):
            yield f"  {count:>8}  {name}"
        yield from self.blocked


def dry_run(settings: Settings, *, limit: int | None, write: Callable[[Line], None]) -> Summary:
    """Show what would be sent for the records between the committed offsets and the end.

    Raises:
        StartupError: offsets or ledger cannot be used.
        KafkaUnavailableError: Kafka does not answer.
    """
    config = kafka_config(settings.kafka)
    with CommittedReader(config) as reader:
        try:
            starts = reader.starts()
            run = DryRun(settings, write)
            for partition, state in reader.states(starts).items():
                run.open(partition, state, starts[partition])
            asyncio.run(run.run(reader.records(starts), limit))
            run.summary.blocked = [
                blocked_text(config, *partition, records)
                for partition, records in reader.blocked(starts).items()
            ]
        except DecodeError as error:
            text = f"the ledger cannot be read: {error.detail}"
            raise StartupError(text, exit_code=78) from error
    return run.summary


class DryRun:
    """Feeds records to a task manager, and passes the requests it releases to a recording sink."""

    def __init__(self, settings: Settings, write: Callable[[Line], None]) -> None:
        self.summary = Summary()
        self._write = write
        self._now = 0.0
        self._details: dict[str, str] = {}
        self._waiting: dict[tuple[int, int], PendingEvent] = {}
        self._records_max = settings.kafka.in_flight_records_max
        self._bytes_max = settings.kafka.in_flight_bytes_max
        self._prepare = wootric_preparer(settings.wootric, schema_fetcher(settings.schema_registry))
        self._tasks = TaskManager(
            engine_config(settings), read_operation=read_operation, on_settled=self._settled
        )
        self._transport = RecordingTransport()
        self._sink = WootricSink(
            wootric_account(settings.wootric.model_copy(update={"requests_per_minute": 0})),
            session=self._transport,
            clock=lambda: self._now,
        )

    def open(self, partition: Partition, state: Any, offset: int) -> None:
        """Open a partition with the state restored from its ledger."""
        self._tasks.open(partition, state, offset, self._now, assignment_epoch=1)

    async def run(self, records: Iterator[Record], limit: int | None) -> None:
        """Process the records in batches as large as a worker holds in memory."""
        for record in records:
            if limit is not None and self.summary.events >= limit:
                break
            self.summary.events += 1
            self._admit(self._prepare(record))
            tasks = self._tasks
            if tasks.unsettled >= self._records_max or tasks.unsettled_bytes >= self._bytes_max:
                await self._deliver()
        for partition, part in self._tasks.partitions.items():
            self._tasks.on_partition_end(partition, part.offsets.next_offset)
        await self._deliver()
        for pending in list(self._waiting.values()):
            self._settled(pending, "waits", "in_doubt")

    def _admit(self, event: PreparedRecord) -> None:
        if isinstance(event.result, Invalid):
            self._details[event.event_id] = event.result.detail
        place = (event.record.partition.number, event.record.offset)
        self._waiting[place] = PendingEvent(
            record=event.record, event_id=event.event_id, message_id=event.message_id
        )
        self._tasks.admit([event], _now_ms())

    async def _deliver(self) -> None:
        """Release requests until none is left; skip the time that requests in doubt must wait."""
        while True:
            self._tasks.run_timers(self._now)
            checkpoint = self._tasks.checkpoint(_now_ms(), ROOM)
            released = self._tasks.on_committed(checkpoint, self._now)
            for pending in released:
                await self._show(pending)
            due = self._tasks.run_timers(self._now)
            if released or self._tasks.has_changes(ROOM):
                continue
            if due is None:
                return
            self._now = max(self._now, due)

    async def _show(self, pending: PendingRequest) -> None:
        part = self._tasks.partitions[pending.lane.partition]
        delivery = part.delivery(pending, lambda: True)
        outcome: Outcome = await self._sink.deliver(delivery)
        for request in self._transport.take():
            self.summary.requests[request.name] += 1
            self._write(_request_line(request, pending))
        self._tasks.settle(pending, outcome, self._now, _now_ms())

    def _settled(self, event: PendingEvent, outcome: str, reason: str) -> None:
        place = (event.record.partition.number, event.record.offset)
        self._waiting.pop(place, None)
        self.summary.outcomes[f"{outcome} {reason}".strip()] += 1
        if outcome == "delivered":
            return
        line: Line = {"outcome": OUTCOMES.get(outcome, outcome), "reason": reason}
        detail = self._details.pop(event.event_id, None)
        if detail is not None:
            line["detail"] = detail
        self._write(line | _place(event))


def _request_line(request: RecordedRequest, pending: PendingRequest) -> Line:
    line: Line = {
        "outcome": "deliver",
        "operation": pending.require_operation().type,
        "request": {"name": request.name, "method": request.method, "url": request.url},
        "only_if": request.condition,
        "events": [_place(member) for member in pending.events],
    }
    if request.form is not None:
        line["request"]["form"] = dict(request.form)
    if pending.in_doubt:
        line["in_doubt"] = True
    return line


def _place(event: PendingEvent) -> Line:
    return {
        "message_id": event.message_id,
        "partition": event.record.partition.number,
        "offset": event.record.offset,
    }


def _now_ms() -> int:
    return int(time.time() * 1000)


# `wootric-stream transform`


NOT_AN_OBJECT = "not_an_object"
"""A reason of this preview only. Published, such a value is ``undecodable``."""


def preview_lines(
    parts: Iterable[bytes],
    *,
    explained: bool = False,
    on_broken: Callable[[int], None] | None = None,
) -> Iterator[str]:
    """Yield one JSON line per event of a text, and per text that is not JSON.

    ``parts`` are those of ``stream.codec.json_text.read_documents``. ``explained`` adds the
    fields' sources. ``on_broken`` gets the line of each text that is not JSON.
    """
    settings = load_transform()
    rules = transform_rules(settings)
    token = settings.account_token
    preview_event = partial(
        preview,
        rules=rules,
        account_token=None if token is None else token.get_secret_value(),
        pixel_url=settings.pixel_url,
        explained=explained,
    )
    for found in read_documents(parts):
        if isinstance(found, Broken) and on_broken is not None:
            on_broken(found.line)
        try:
            event, name = _event(found)
        except DecodeError as error:
            yield json_line(refused(error, explained=explained))
        else:
            yield json_line(preview_event(event, event_id=name))


def _event(found: ReadResult) -> tuple[Event, str]:
    """Return the event and its id.

    Raises:
        DecodeError: there is none.
    """
    match found:
        case Broken(line):
            raise DecodeError("invalid_json", f"line {line} is not JSON, or nested too deeply")
        case Document(_, text, dict() as value):
            event = event_from_parsed(value)
            return event, event.message_id or hashlib.blake2b(text, digest_size=16).hexdigest()
        case Document(line, _, _):
            raise DecodeError(NOT_AN_OBJECT, f"line {line} is JSON, but not an object")
        case _:
            assert_never(found)
