"""Moments, going back, erasure and whose an event is."""

from typing import Any

import pytest

from sink.delivery import EndUser
from stream.codec.avro import all_packaged
from stream.codec.decode import Decoder
from stream.codec.event import encode_event, event_from_json
from stream.operations.analysis.dead_letters import LetterStatus, RecordPosition
from stream.operations.analysis.plans import (
    NEVER,
    LedgerRange,
    RetentionInfo,
    accept_loss,
    identifiers_of,
    mask,
    names_in,
    plan_deletions,
    plan_reset,
)
from stream.operations.analysis.time_text import format_age, format_time, parse_time
from stream.record import Partition, Record
from stream.state.ledger import UserEntry

NOW_MS = 10_000_000
DECODER = Decoder(all_packaged())


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:05Z", 5_000),
        ("1970-01-01T01:00:05+01:00", 5_000),
        ("1970-01-01 00:00:05", 5_000),
        ("1970-01-02", 86_400_000),
        ("90s", NOW_MS - 90_000),
        ("15m", NOW_MS - 900_000),
        ("1.5 h", NOW_MS - 5_400_000),
        ("0d", NOW_MS),
    ],
)
def test_a_moment_is_a_time_or_an_age(text: str, moment: int) -> None:
    assert parse_time(text, NOW_MS) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "5", "5y", "-2h", "2026-13-01"])
def test_what_is_no_moment_says_how_one_looks(text: str) -> None:
    with pytest.raises(ValueError, match="2h"):
        parse_time(text, NOW_MS)


def test_moments_and_ages_are_shown_for_people() -> None:
    assert format_time(5_000) == "1970-01-01T00:00:05Z"
    assert format_time(1e30).endswith(" ms")
    assert [format_age(ms) for ms in (-1, 1_500, 180_000, 7_200_000, 3 * 86_400_000)] == [
        "0.0 s",
        "1.5 s",
        "3 min",
        "2 h",
        "3 d",
    ]


# Going back


def known(*, safe_from: int = 0, committed: int | None = 50, gone: int = 0) -> LedgerRange:
    return LedgerRange(begin=10, end=90, committed=committed, safe_from=safe_from, ledger_gone=gone)


def move(wanted: int, **more: Any) -> Any:
    (found,) = plan_reset({3: wanted}, {3: known(**more)})
    return found


def test_an_offset_goes_back() -> None:
    found = move(20)
    assert (found.target, found.records, found.unsafe) == (20, 30, False)


def test_an_offset_never_goes_forward_past_records_that_are_there() -> None:
    assert move(60).target is None
    assert move(50).target is None


def test_it_goes_no_further_than_to_the_first_record() -> None:
    assert move(0).target == 10


def test_what_has_lost_its_receipts_is_unsafe() -> None:
    assert move(20, safe_from=30).unsafe
    assert not move(30, safe_from=30).unsafe


def test_a_group_that_has_committed_nothing_begins_at_the_earliest_anyway() -> None:
    assert move(0, committed=None).target is None


def test_an_offset_whose_records_are_deleted_goes_to_the_first_that_is_there() -> None:
    found = move(0, committed=4)
    assert (found.target, found.unsafe) == (10, False)
    assert "6 records were deleted" in found.text


def test_an_offset_behind_the_end_goes_where_it_is_told_to() -> None:
    assert move(20, committed=200).target == 20
    assert move(500, committed=200).target == 90


def test_nothing_goes_back_over_a_ledger_that_has_lost_records() -> None:
    found = move(20, gone=4)
    assert (found.target, found.unsafe) == (None, True)
    assert "--accept-ledger-loss" in found.text


def test_a_loss_that_is_accepted_leaves_the_offset_where_it_is() -> None:
    lost, whole, out = accept_loss({0: known(gone=4), 1: known(), 2: known(gone=4, committed=5)})
    assert (lost.target, lost.unsafe, lost.records) == (50, False, 0)
    assert whole.target is None
    assert out.target == 10


# Erasure


def test_a_record_is_gone_when_its_segment_is() -> None:
    keeping = RetentionInfo.of(
        {"cleanup.policy": "delete", "retention.ms": "100", "segment.ms": "10"}
    )
    assert keeping.gone_by(1_000) == 1_110
    assert keeping.compacted_by(1_000) == 1_110


def test_what_is_kept_for_ever_is_never_gone() -> None:
    for config in (
        {"cleanup.policy": "delete", "retention.ms": "-1"},
        {"cleanup.policy": "compact", "retention.ms": "100"},
    ):
        assert RetentionInfo.of({**config, "segment.ms": "10"}).gone_by(0) == NEVER


def test_compaction_bounds_what_was_replaced_where_it_has_a_bound_itself() -> None:
    config = {"cleanup.policy": "compact,delete", "retention.ms": "100", "segment.ms": "10"}
    assert RetentionInfo.of({**config, "max.compaction.lag.ms": "30"}).compacted_by(1_000) == 1_040
    unbounded = {**config, "max.compaction.lag.ms": str(2**63 - 1)}
    assert RetentionInfo.of(unbounded).compacted_by(1_000) == 1_110


def test_a_cut_takes_all_before_along_and_names_what_is_still_of_use() -> None:
    places = [RecordPosition(0, n) for n in range(5)] + [RecordPosition(1, 0)]
    theirs, used = {RecordPosition(0, 1), RecordPosition(0, 3)}, {RecordPosition(0, 0)}
    (cut,) = plan_deletions(LetterStatus.DEAD, theirs, places, used)
    assert (cut.partition, cut.before, cut.theirs, cut.others) == (0, 4, 2, 2)
    assert cut.blockers == [RecordPosition(0, 2)]


# Whose an event is


def record(document: dict[str, Any] | bytes, key: bytes | None = None) -> Record:
    value = document if isinstance(document, bytes) else encode_event(event_from_json(document))
    return Record(Partition("segment.events", 0), 0, 0, key, value)


@pytest.mark.parametrize(
    ("given", "key", "about"),
    [
        ({"type": "page", "userId": "7"}, None, True),
        ({"type": "page", "userId": "71"}, None, False),
        ({"type": "page", "anonymousId": "7"}, None, True),
        ({"type": "identify", "traits": {"Email": "7"}}, None, True),
        ({"type": "page", "context": {"traits": {"email": "7"}}}, None, True),
        ({"type": "identify", "userId": "8", "traits": {"phone": 7}}, None, True),
        ({"type": "track", "userId": "8", "properties": {"email": "7"}}, None, True),
        ({"type": "delete", "userId": "8", "email": " ann@example.com "}, None, True),
        ({"type": "identify", "traits": {"email": "ann@example.com\n"}}, None, True),
        ({"type": "identify", "traits": [], "context": [], "properties": "7"}, None, False),
        ({"type": "page", "userId": "8", "properties": {"price": 7}}, None, False),
        ({"type": "page", "userId": "8"}, b"7", True),
        (b"no Avro, 7 in it", None, False),
        (b"no Avro, ann@example.com in it", None, True),
    ],
)
def test_whose_an_event_is(given: Any, key: bytes | None, about: bool) -> None:
    """A short name is found in any bytes: those that nobody can read need a longer one."""
    assert bool(names_in(record(given, key), {"7", "ann@example.com"}, DECODER)) is about


def test_a_person_goes_by_what_their_entries_say() -> None:
    entry = UserEntry(
        end_user=EndUser(id=1, email="a@example.com", external_id="7", phone_number="+43"),
        sent_at_ms=0,
    )
    assert identifiers_of(entry) == {"7", "a@example.com", "+43"}


def test_a_masked_e_mail_tells_no_stranger_who_it_is() -> None:
    assert mask("ann@example.com") == "a***@example.com"
    assert mask("+43123456") == "***56"
    assert mask(None) is None
