"""What a dry run says of merging, doubt and bounds; no Kafka is needed for that."""

import json
from typing import Any

from msgspec.structs import replace

from sink.wootric.operations import read_operation
from stream.engine.limits import ReleaseBudget
from stream.engine.task_manager import TaskManager
from stream.kafka.producer import record_of
from stream.operations.dry_run import DryRun
from stream.record import Partition, Record
from stream.runtime.worker import engine_config
from stream.settings_loader import Settings
from stream.state.store import InMemoryStateStore
from stream.wootric import wootric_preparer

PARTITION = Partition("segment.events", 0)
SETTINGS = Settings(
    kafka={"bootstrap_servers": "nowhere:9092", "in_flight_records_max": 100},
    wootric={
        "account_token": "NPS-EU-0a1b2c3d",
        "client_id": "id",
        "client_secret": "secret",
        "requests_per_minute": 1,
    },
)


def record(offset: int, **document: Any) -> Record:
    event = {"messageId": f"m{offset}", "userId": "ann", **document}
    key, value = record_of(json.dumps(event).encode())
    return Record(PARTITION, offset, 0, key, value)


def identify(offset: int, **traits: Any) -> Record:
    return record(offset, type="identify", traits={"email": "ann@example.com", **traits})


def answer(offset: int) -> Record:
    return record(
        offset,
        type="track",
        timestamp="2026-01-02T03:04:05.000Z",
        properties={"score": 9},
        integrations={"Wootric": {"eventType": "create response"}},
    )


async def rehearsed(
    records: list[Record],
    state: InMemoryStateStore | None = None,
    limit: int | None = None,
    settings: Settings = SETTINGS,
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    run = DryRun(settings, lines.append)
    run.open(PARTITION, state or InMemoryStateStore(), 0)
    await run.run(iter(records), limit)
    return lines


def summary(lines: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [
        (line["request"]["name"], [event["message_id"] for event in line["events"]])
        for line in lines
    ]


async def test_events_that_ride_in_one_request_are_named_with_it() -> None:
    lines = await rehearsed([identify(0, plan="free", seats=1), identify(1, plan="pro"), answer(2)])
    assert summary(lines) == [
        ("find_end_user", ["m0", "m1"]),
        ("create_end_user", ["m0", "m1"]),
        ("create_response", ["m2"]),
    ]
    create = lines[1]["request"]
    assert create["url"] == "https://api.wootric.eu/v1/end_users"
    assert create["form"] == {
        "email": "ann@example.com",
        "external_id": "ann",
        "properties[plan]": "pro",
        "properties[seats]": "1",
    }
    assert lines[2]["request"]["url"].endswith("/end_users/{new-1}/responses")


async def test_no_more_waits_at_once_than_the_service_keeps_in_memory() -> None:
    lines = await rehearsed([identify(number, n=number) for number in range(250)])
    assert [len(events) for _, events in summary(lines)] == [100, 100, 100, 50]


async def test_no_more_bytes_wait_at_once_than_the_service_keeps_in_memory() -> None:
    """A record's headers count: a kilobyte of each of these is in one."""
    records = [
        replace(identify(number, n=number), headers=(("trace", b"." * 1024),))
        for number in range(250)
    ]
    bytes_max = sum(one.size for one in records[:50])
    kafka = SETTINGS.kafka.model_copy(update={"in_flight_bytes_max": bytes_max})
    lines = await rehearsed(records, settings=SETTINGS.model_copy(update={"kafka": kafka}))
    assert {len(events) for _, events in summary(lines)} == {50}


def in_doubt(first: Record) -> InMemoryStateStore:
    """The ledger of a worker that died with a request under way."""
    state = InMemoryStateStore()
    flow = TaskManager(engine_config(SETTINGS), read_operation=read_operation)
    flow.open(PARTITION, state, 0, 0.0, assignment_epoch=1)
    flow.admit([wootric_preparer(SETTINGS.wootric)(first)], 0)
    flow.on_committed(flow.checkpoint(0, ReleaseBudget(limited=1, unlimited=1)), 0.0)
    return state


async def test_what_is_in_doubt_is_looked_for_before_the_rest() -> None:
    lines = await rehearsed([answer(0), identify(1, plan="pro")], in_doubt(answer(0)))
    assert summary(lines) == [
        ("find_end_user", ["m0"]),
        ("create_end_user", ["m0"]),
        ("list_responses", ["m0"]),
        ("create_response", ["m0"]),
        ("update_end_user", ["m1"]),
    ]
    assert [line.get("in_doubt", False) for line in lines] == [True] * 4 + [False]
    assert lines[3]["only_if"] == "the list does not show the effect of an earlier attempt"


async def test_what_a_doubt_outside_of_the_limit_holds_up_is_said_to_wait() -> None:
    """The event in doubt is not among those that were read."""
    lines = await rehearsed([identify(0, plan="pro"), answer(1)], in_doubt(answer(1)), limit=1)
    assert [(line["outcome"], line["reason"]) for line in lines] == [("waits", "in_doubt")]
