"""What lies in Kafka was written by versions before: these bytes and names never change.

`tests/cases/stored_forms.json` was written by the first version. A form that is added is added
there; a form that is there stays as it is, or records of before are read wrongly: an event would
be sent twice, or a letter could not be replayed.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from scripts.docs import code_facts, reasons
from sink.delivery import EffectClass, EndUser, Operation
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    PageView,
    UpsertEndUser,
    from_fields,
    to_fields,
)
from stream.codec.avro import packaged
from stream.codec.dead_letter import DeadLetter
from stream.codec.event import encode_event, event_from_json, event_key
from stream.engine.prepare import event_id
from stream.kafka import input_pause
from stream.kafka.config import KafkaConfig, transactional_id
from stream.kafka.protocol import InputPause
from stream.kafka.transactions import CommitMetadata
from stream.operations.analysis.dead_letters import (
    LetterStatus,
    ListedDeadLetter,
    RecordPosition,
    Resolution,
)
from stream.record import Partition, Record
from stream.state.ledger import (
    EVENT,
    REMOTE_ID_HEADER,
    Entry,
    EventEntry,
    EventOutcome,
    IntentEntry,
    Member,
    UserEntry,
    decode,
    encode,
    intent_key,
    user_key,
)

FORMS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "cases" / "stored_forms.json").read_text()
)

CONFIG = KafkaConfig(
    bootstrap_servers="",
    group_id="wootric-destination",
    instance_id="worker-0",
    topic="",
    ledger_topic="",
    dead_letter_topic="",
    parked_topic="",
)
PROPERTIES = {"seats_amount": 3, "plan": "größer", "paid": True, "rate": 0.5}
OPERATIONS: dict[str, Operation] = {
    "upsert": UpsertEndUser(
        email="ada@example.com",
        external_id="ada",
        phone_number="+15550100",
        external_created_at=1_500_000_000,
        properties=PROPERTIES,
    ),
    "page view": PageView(
        url="https://example.com/a?b=c", random="0f", email="ada@example.com", created_at=1
    ),
    "response": CreateResponse(
        score=9,
        external_id="ada",
        text="très bien",
        ip_address="192.0.2.1",
        origin_url="https://example.com/",
        created_at=1_600_000_000,
        properties=PROPERTIES,
    ),
    "decline": CreateDecline(email="ada@example.com", created_at=1_600_000_000),
    "delete": DeleteEndUser(external_id="ada"),
}

ENTRIES: dict[str, Entry] = {
    **{
        f"receipt {outcome}": EventEntry(outcome=outcome, offset=7, at_ms=1_700_000_000_000)
        for outcome in EventOutcome
    },
    "receipt with all": EventEntry(
        outcome=EventOutcome.PARKED,
        offset=2**40,
        at_ms=1_700_000_000_000,
        reason="in_doubt",
        request_id="0123456789abcdef",
        remote_id=42,
        status=500,
        attempts=3,
    ),
    "user": UserEntry(end_user=EndUser(id=1, email="ada@example.com"), sent_at_ms=5),
    "user with all": UserEntry(
        end_user=EndUser(
            id=2**40,
            email="ada@example.com",
            external_id="ada",
            phone_number="+15550100",
            external_created_at=1_500_000_000,
            properties=PROPERTIES,
        ),
        sent_at_ms=1_700_000_000_000,
        newest_event_at_ms=1_700_000_000_001,
    ),
    "user that nobody found": UserEntry(end_user=EndUser(id=None, external_id="ada"), sent_at_ms=1),
    **{
        f"intent {effect}": IntentEntry(
            request_id="0123456789abcdef",
            effect=effect,
            members=(Member("a", 1), Member("b", 3)),
            operation='{"type":"delete_end_user","external_id":"ada"}',
            operation_hash="0" * 64,
            first_attempt_at_ms=1_700_000_000_000,
            instance="worker-0",
        )
        for effect in EffectClass
    },
    "intent too large to be kept": IntentEntry(
        request_id="0123456789abcdef",
        effect=EffectClass.OBSERVABLE,
        members=(Member("a", 1),),
        operation=None,
        operation_hash="f" * 64,
        first_attempt_at_ms=0,
        instance="worker-0",
    ),
}

DOCUMENTS = {
    "identify": {
        "type": "identify",
        "messageId": "m-1",
        "userId": "ada",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "traits": {"email": "ada@example.com", "seats": 3},
        "context": {"ip": "192.0.2.1"},
        "version": 2,
    },
    "page without a name": {"type": "page", "anonymousId": "x", "properties": {"url": "u"}},
    "no message id": {"type": "track", "event": "Survey", "userId": 5},
}

LETTER = DeadLetter(
    key=b"ada",
    value=b"raw",
    reason="score_out_of_range",
    detail="score is 11",
    origin=Partition("segment.events", 3),
    offset=12,
    message_id="m-1",
    http_status=422,
    attempts=2,
    failed_at_ms=1_700_000_000_000,
    app_version="0.1.0",
    replay="1-2",
    trace=(("traceparent", b"00-a-b-01"),),
)


def record(value: bytes | None, *headers: tuple[str, bytes]) -> Record:
    return Record(
        partition=Partition("segment.events", 3),
        offset=12,
        timestamp_ms=1_700_000_000_000,
        key=b"ada",
        value=value,
        headers=headers,
    )


def event_ids() -> dict[str, str]:
    identify = event_from_json(DOCUMENTS["identify"])
    nameless = event_from_json(DOCUMENTS["no message id"])
    long = event_from_json({"type": "track", "messageId": "m" * 257})
    replay, force = ("x-replay", b"1-2"), ("x-replay-force", b"true")
    return {
        "message id": event_id(record(b"v"), identify),
        "no message id": event_id(record(b"v"), nameless),
        "not decodable": event_id(record(b"\xff"), None),
        "tombstone": event_id(record(None), None),
        "long message id": event_id(record(b"v"), long),
        "replay": event_id(record(b"v", replay), identify),
        "replay of what has no message id": event_id(record(b"v", replay), nameless),
        "forced replay": event_id(record(b"v", replay, force), identify),
    }


def headers(pairs: Any) -> list[list[str]]:
    return [[name, value.decode()] for name, value in pairs]


def listed_letter(kind: LetterStatus) -> ListedDeadLetter:
    return ListedDeadLetter(
        kind=kind,
        place=RecordPosition(3, 12),
        letter=LETTER,
        written_ms=1_700_000_000_000,
        size=3,
    )


@cache
def forms() -> dict[str, Any]:
    """Everything that this version writes, as the file has it."""
    names = ("segment_event", "ledger_entry", "dead_letter")
    dead = listed_letter(LetterStatus.DEAD)
    return {
        "schemas": {name: packaged(name).header.hex() for name in names},
        "operations": {
            name: orjson.dumps(to_fields(one), option=orjson.OPT_SORT_KEYS).decode()
            for name, one in OPERATIONS.items()
        },
        "ledger values": {name: encode(entry).hex() for name, entry in ENTRIES.items()},
        "ledger keys": {
            **{f"user of {name}": user_key(one) for name, one in OPERATIONS.items()},
            "user with a long name": user_key(DeleteEndUser(external_id="a" * 257)),
            "intent": intent_key("ada"),
            "intent of a long lane": intent_key("a" * 257),
            "event": EVENT,
            "remote id": REMOTE_ID_HEADER,
        },
        "event ids": event_ids(),
        "input": {
            name: [
                (event_key(event) or b"").decode(),
                encode_event(event).hex(),
            ]
            for name, event in (
                (name, event_from_json(document)) for name, document in DOCUMENTS.items()
            )
        },
        "commit metadata": str(CommitMetadata("worker-0", 5, 77, 1234)),
        "transactional id": transactional_id("wootric-destination", "worker-0"),
        "input pause": [
            CONFIG.pause_group_id,
            input_pause.PAUSED,
            input_pause.metadata_of(InputPause(1_767_323_045_000)),
            input_pause.RESUMED,
        ],
        "dead letter": headers(LETTER.headers()),
        "note": headers(dead.note(Resolution.DISMISSED, at_ms=5, text="known").headers),
        "replayed letter": headers(dead.replay(force=True).headers),
        "replayed parked record": headers(listed_letter(LetterStatus.PARKED).replay().headers),
        "exit codes": sorted(code_facts.exit_codes()),
        "reasons": sorted(map(list, reasons.in_code())),
    }


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_what_was_written_before(name: str) -> None:
    assert forms()[name] == FORMS[name]


def test_every_form_is_in_the_file() -> None:
    assert forms().keys() == FORMS.keys()


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_of_before_is_read_as_it_was_meant(name: str) -> None:
    assert decode(bytes.fromhex(FORMS["ledger values"][name])) == ENTRIES[name]


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_of_before_is_read_as_it_was_meant(name: str) -> None:
    assert from_fields(orjson.loads(FORMS["operations"][name])) == OPERATIONS[name]


def test_commit_metadata_and_letters_of_before_are_read_as_they_were_meant() -> None:
    assert CommitMetadata.parse(FORMS["commit metadata"]) == CommitMetadata("worker-0", 5, 77, 1234)
    stored = [(name, value.encode()) for name, value in FORMS["dead letter"]]
    assert DeadLetter.from_headers(b"ada", b"raw", stored) == LETTER
