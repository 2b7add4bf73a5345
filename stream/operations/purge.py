"""purge: erase what can be erased of a person, and show when the rest expires.

User entries get tombstones. Only the owner of a partition writes its ledger, so this requires a
group without members. Former members are fenced first, so that no late transaction of theirs can
write an entry back, and the ledger is read again afterwards.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from stream.errors import StartupError
from stream.kafka.producer import BulkProducer
from stream.kafka.transactions import fence_instances
from stream.operations.analysis.dead_letters import (
    LetterStatus,
    ListedDeadLetter,
    RecordPosition,
    read_letter,
)
from stream.operations.analysis.open_intents import OpenIntent, OpenIntents
from stream.operations.analysis.plans import (
    NEVER,
    DeletionPoint,
    RetentionInfo,
    identifiers_of,
    matches_user,
    plan_deletions,
)
from stream.operations.analysis.time_text import format_time
from stream.operations.dlq import read_dead_letters, topic_of
from stream.operations.output import Table, show
from stream.operations.session import (
    OperatorSession,
    now_ms,
    wait_until_group_empty,
    with_progress,
)
from stream.record import Partition, Record
from stream.state.ledger import INTENT, USER, UserEntry, bounded, try_decode


@dataclass(slots=True)
class Traces:
    """Data of a person in the four topics.

    ``entries`` are the current user entries by partition and key; ``ledger_count`` counts all
    ledger records about the person, including replaced ones. ``input_count`` counts their events in
    the input, and ``unsettled`` those of them at or after the committed offsets.
    """

    user: str
    names: frozenset[str]
    entries: dict[tuple[int, bytes], UserEntry] = field(default_factory=dict)
    intents: list[OpenIntent] = field(default_factory=list)
    ledger_count: int = 0
    ledger_newest_ms: int = 0
    input_count: int = 0
    input_newest_ms: int = 0
    unsettled: int = 0
    letters: list[ListedDeadLetter] = field(default_factory=list)
    cuts: list[DeletionPoint] = field(default_factory=list)
    retention: dict[str, RetentionInfo] = field(default_factory=dict)


def find(session: OperatorSession, user: str) -> Traces:
    """Return the data of a person in the four topics."""
    traces = Traces(user, frozenset({user}))
    _read_ledger(session, traces)
    _read_input(session, traces)
    for kind in LetterStatus:
        _read_letters(session, traces, kind)
    config = session.config
    for topic in (
        config.topic,
        config.ledger_topic,
        *(topic_of(config, kind) for kind in LetterStatus),
    ):
        traces.retention[topic] = RetentionInfo.of(session.reader.group.topic_config(topic))
    return traces


def erase(session: OperatorSession, traces: Traces) -> None:
    """Write tombstones for a person's user entries.

    Raises:
        StartupError: the group has members, a request about the person is open, or an entry was
            written back meanwhile.
    """
    config, group = session.config, session.reader.group
    wait_until_group_empty(session)
    if traces.intents:
        raise StartupError(
            "a request about them is open, and its body is needed until a worker has resolved it. "
            "Start a worker, wait until `in-doubt list` no longer shows the request, stop the "
            "worker, and repeat the command",
            exit_code=75,
        )
    fence_instances(config, session.reader.metadata().values())
    tombstones = [
        Record(Partition(config.ledger_topic, number), -1, 0, key, None)
        for number, key in traces.entries
    ]
    BulkProducer(config).send(config.ledger_topic, tombstones)
    remaining = Traces(traces.user, traces.names)
    _read_ledger(session, remaining)
    members = group.members()
    if remaining.entries or members:
        raise StartupError(
            "a worker has joined meanwhile and may have written entries back: stop all workers and "
            "repeat the command",
            exit_code=75,
        )


def delete_letters(session: OperatorSession, chosen: Collection[DeletionPoint]) -> None:
    """Delete the records of each partition up to the person's last letter."""
    by_kind: dict[LetterStatus, dict[int, int]] = {}
    for one in chosen:
        by_kind.setdefault(one.kind, {})[one.partition] = one.before
    for kind, offsets in by_kind.items():
        session.reader.group.delete_before(topic_of(session.config, kind), offsets)


def _read_ledger(session: OperatorSession, traces: Traces) -> None:
    """Find a person's user entries, under all of their identifiers, and their open requests."""
    known: frozenset[str] = frozenset()
    while known != traces.names:
        known = traces.names
        keys = {(kind + bounded(name)).encode() for name in known for kind in (USER, INTENT)}
        traces.entries.clear()
        traces.ledger_count, open_intents = 0, OpenIntents()
        for record in session.ledger():
            open_intents.take(record)
            if _take(traces, record, keys):
                traces.ledger_count += 1
                traces.ledger_newest_ms = max(traces.ledger_newest_ms, record.timestamp_ms)
        traces.names |= identifiers_of(traces.user, traces.entries.values())
    lanes = {bounded(name) for name in traces.names}
    traces.intents = [one for one in open_intents.open() if one.lane in lanes]


def _take(traces: Traces, record: Record, keys: Collection[bytes]) -> bool:
    """Apply a ledger record to ``entries``; return whether it is about the person."""
    key = record.key or b""
    entry = None
    if record.value is not None and key.startswith(USER.encode()):
        entry = try_decode(record.value)
    named = isinstance(entry, UserEntry) and traces.user in (
        entry.end_user.email,
        entry.end_user.external_id,
    )
    name = (record.partition.number, key)
    if isinstance(entry, UserEntry) and (named or key in keys):
        traces.entries[name] = entry
    else:
        traces.entries.pop(name, None)
    return named or key in keys


def _read_input(session: OperatorSession, traces: Traces) -> None:
    topic = session.config.topic
    begins, ends = session.reader.begins(topic), session.reader.ends(topic)
    committed = session.reader.committed()
    total = sum(ends[number] - begin for number, begin in begins.items())
    records = session.reader.read(topic, begins=begins, stops=ends)
    for record in with_progress(records, f"records of {topic} searched", total):
        if matches_user(record, traces.names, session.decoder):
            traces.input_count += 1
            traces.input_newest_ms = max(traces.input_newest_ms, record.timestamp_ms)
            traces.unsettled += record.offset >= committed.get(record.partition.number, 0)


def _read_letters(session: OperatorSession, traces: Traces, kind: LetterStatus) -> None:
    """Find a person's letters, and plan their deletion."""
    topic = topic_of(session.config, kind)
    theirs: set[RecordPosition] = set()
    for record in with_progress(session.reader.read(topic), f"records of {topic} searched"):
        letter = read_letter(record, kind)
        bridged = letter is not None and letter.letter.input_topic is not None
        about = letter.replay() if letter and bridged and not letter.obstacle else record
        if not matches_user(about, traces.names, session.decoder):
            continue
        theirs.add(RecordPosition(record.partition.number, record.offset))
        if letter is not None:
            traces.letters.append(letter.bare())
    listing = read_dead_letters(session, kind)
    traces.cuts += plan_deletions(
        kind, theirs, {one.place for one in listing.letters}, listing.notes
    )


# The command and its output


AT_WOOTRIC = (
    "data at Wootric is not changed: before the purge, send Segment's delete call with "
    "WOOTRIC__DELETE_USERS=true"
)


def command(
    session: OperatorSession, user: str, *, delete_records: bool, yes: bool, as_json: bool
) -> None:
    """Erase what can be erased of a person; without ``yes``, show it.

    Raises:
        StartupError: a precondition is not met; the message says what to do first.
    """
    if yes:
        wait_until_group_empty(session)
    traces = find(session, user)
    possible = [one for one in traces.cuts if not one.blockers] if delete_records else []
    if yes:
        erase(session, traces)
        delete_letters(session, possible)
    document = _document(session, traces, possible, done=yes)
    parts: list[Table | str] = [
        Table(
            "data of this person",
            ("topic", "records", "removed at the latest"),
            list(_rows(document)),
        ),
        *_ledger_lines(document, done=yes),
        *_input_lines(traces),
        *_cut_lines(traces.cuts, delete_records=delete_records, done=yes),
        AT_WOOTRIC,
    ]
    if not yes:
        parts.append("nothing was erased; repeat with --yes while no worker runs")
    show(document, parts, as_json=as_json)


def _document(
    session: OperatorSession, traces: Traces, possible: list[DeletionPoint], *, done: bool
) -> dict[str, Any]:
    config, retention = session.config, traces.retention
    newest_ms = now_ms() if traces.entries else traces.ledger_newest_ms
    ledger = retention[config.ledger_topic]
    letters = {
        str(kind): [
            {
                "place": str(one.place),
                "reason": one.letter.reason,
                "gone_by": _moment(retention[topic_of(config, kind)].gone_by(one.written_ms)),
            }
            for one in traces.letters
            if one.kind is kind
        ]
        for kind in LetterStatus
    }
    return {
        "done": done,
        "ledger": {
            "records": traces.ledger_count,
            "entries": len(traces.entries),
            "open_requests": len(traces.intents),
            "gone_by": _moment(ledger.compacted_by(newest_ms)) if traces.ledger_count else None,
        },
        "input": {
            "records": traces.input_count,
            "unsettled": traces.unsettled,
            "gone_by": _moment(retention[config.topic].gone_by(traces.input_newest_ms))
            if traces.input_count
            else None,
        },
        "letters": letters,
        "cuts": [
            {
                "topic": topic_of(config, one.kind),
                "partition": one.partition,
                "before": one.before,
                "theirs": one.theirs,
                "others": one.others,
                "blockers": [str(place) for place in one.blockers],
                "done": done and one in possible,
            }
            for one in traces.cuts
        ],
    }


def _rows(document: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name in ("ledger", "input"):
        part = document[name]
        yield name, part["records"], part["gone_by"] or ""
    for kind, letters in document["letters"].items():
        yield f"{kind}s", len(letters), max((one["gone_by"] for one in letters), default="")


def _ledger_lines(document: dict[str, Any], *, done: bool) -> Iterator[str]:
    part = document["ledger"]
    if part["entries"]:
        verb = "were" if done else "would be"
        yield f"ledger: {part['entries']} current entries {verb} erased"
    if part["records"]:
        yield (
            "ledger: compaction removes earlier profiles, request bodies and the ids in their "
            "keys; set max.compaction.lag.ms on the topic to bound the time"
        )
    if part["open_requests"]:
        yield "ledger: a request about them is open: a worker must resolve it first"
    yield (
        "ledger: receipts stay until the dedupe window ends. They name events by messageId and "
        "hold no personal data; without them a replay would take effect twice"
    )


def _input_lines(traces: Traces) -> Iterator[str]:
    if traces.input_count:
        yield "input: only retention removes its records"
    if traces.unsettled:
        yield (
            f"input: {traces.unsettled} of their events are not settled. They would be delivered "
            "and write new entries: let the workers finish first"
        )


def _cut_lines(all_cuts: list[DeletionPoint], *, delete_records: bool, done: bool) -> Iterator[str]:
    for one in all_cuts:
        where = f"{one.kind}s, partition {one.partition}"
        if one.blockers:
            listed = ", ".join(str(place) for place in one.blockers[:5])
            yield (
                f"{where}: Kafka deletes from the beginning only, and {len(one.blockers)} open "
                f"ones of others come first ({listed}): replay or dismiss them, or await retention"
            )
        elif delete_records:
            verb = "was" if done else "would be"
            yield f"{where}: all before offset {one.before} {verb} deleted, {one.others} of others"
        else:
            yield f"{where}: --delete-records would delete all before offset {one.before}"


def _moment(time_ms: float) -> str:
    return (
        "never: the topic keeps records without limit" if time_ms == NEVER else format_time(time_ms)
    )
