"""erase: what can be erased of persons, and when the rest expires.

User entries get tombstones. Only the owner of a partition writes its ledger, and its copy of an
entry would outlive a tombstone of another writer, so this requires a group without members. Former
members are fenced first, so that no late transaction of theirs can write an entry back, and the
ledger is read again afterwards.

The command may be killed anywhere and repeated: letters go first, while the entries still link a
person's identifiers, and all tombstones are in one transaction.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream.errors import StartupError
from stream.kafka.fencing import fence_instances, write_at_once
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
    names_in,
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
from stream.secret_files import clean
from stream.state.ledger import INTENT, USER, UserEntry, bounded, try_decode


@dataclass(slots=True)
class Traces:
    """Data of persons in the four topics.

    ``persons`` are the given ids with their numbers, ``names`` all identifiers of these persons,
    ``seen`` those that were found. ``entries`` are the current user entries by partition and key;
    ``ledger_count`` counts all ledger records about the persons, including replaced ones.
    ``input_count`` counts their events in the input, and ``unsettled`` those of them at or after
    the committed offsets.
    """

    persons: Mapping[str, int]
    names: frozenset[str]
    seen: set[str] = field(default_factory=set)
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

    def not_found(self) -> list[int]:
        """Return the numbers of the given ids that no record has."""
        return [number for name, number in self.persons.items() if name not in self.seen]


def find(session: OperatorSession, persons: Mapping[str, int]) -> Traces:
    """Return the data of persons in the four topics."""
    traces = Traces(persons, frozenset(persons))
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


def check_possible(session: OperatorSession, traces: Traces) -> None:
    """Refuse to begin what could not be finished.

    Raises:
        StartupError: the group has members, or a request about a person is open.
    """
    wait_until_group_empty(session)
    if traces.intents:
        raise StartupError(
            f"nothing was erased: {len(traces.intents)} requests about them are open, and their "
            "bodies are needed until a worker has resolved them. Start a worker, wait until "
            "`in-doubt list` no longer shows them, stop the worker, and repeat the command",
            exit_code=75,
        )


def erase_entries(session: OperatorSession, traces: Traces) -> None:
    """Write tombstones for the user entries, all of them or none.

    Raises:
        StartupError: Kafka did not commit them, or a worker has joined meanwhile.
    """
    config, group = session.config, session.reader.group
    tombstones = [
        Record(Partition(config.ledger_topic, number), -1, 0, key, None)
        for number, key in traces.entries
    ]
    write_at_once(config, INSTANCE, tombstones)
    remaining = Traces(traces.persons, traces.names)
    _read_ledger(session, remaining)
    members = group.members()
    if remaining.entries or remaining.intents or members:
        raise StartupError(
            "a worker has joined meanwhile and may have kept or written entries back: stop all "
            "workers, delete what is below STATE__DIR, and repeat the command",
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
    """Find user entries, under all identifiers of a person, and open requests."""
    known: frozenset[str] = frozenset()
    while known != traces.names:
        known = traces.names
        keys = {(kind + bounded(name)).encode(): name for name in known for kind in (USER, INTENT)}
        traces.entries.clear()
        traces.ledger_count, open_intents = 0, OpenIntents()
        for record in session.ledger():
            open_intents.take(record)
            if _take(traces, record, keys):
                traces.ledger_count += 1
                traces.ledger_newest_ms = max(traces.ledger_newest_ms, record.timestamp_ms)
        for entry in traces.entries.values():
            traces.names |= identifiers_of(entry)
    lanes = {bounded(name) for name in traces.names}
    traces.intents = [one for one in open_intents.open() if one.lane in lanes]


def _take(traces: Traces, record: Record, keys: Mapping[bytes, str]) -> bool:
    """Apply a ledger record to ``entries``; return whether it is about one of the persons.

    ``keys`` are those of entries and requests, with the identifiers that they stand for.
    """
    key = record.key or b""
    entry = None
    if record.value is not None and key.startswith(USER.encode()):
        entry = try_decode(record.value)
    found = identifiers_of(entry) & traces.names if isinstance(entry, UserEntry) else frozenset()
    named = not found.isdisjoint(traces.persons)
    if named or key in keys:
        traces.seen |= found | ({keys[key]} & traces.persons.keys() if key in keys else set())
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
        if named := names_in(record, traces.names, session.decoder):
            traces.seen |= named
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
        named = names_in(about, traces.names, session.decoder)
        if not named:
            continue
        traces.seen |= named
        theirs.add(RecordPosition(record.partition.number, record.offset))
        if letter is not None:
            traces.letters.append(letter.bare())
    listing = read_dead_letters(session, kind)
    traces.cuts += plan_deletions(
        kind, theirs, {one.place for one in listing.letters}, listing.notes
    )


# The command and its output


INSTANCE = "erase"
"""Ends the transactional id, which is that of no worker."""
AT_WOOTRIC = (
    "data at Wootric is not changed: before, send Segment's delete call with "
    "WOOTRIC__DELETE_USERS=true"
)


def numbered(lines: Iterable[bytes]) -> dict[str, int]:
    """Return ids with the numbers of their lines; of two equal ones the first.

    Raises:
        StartupError: a line is not text, or there is no id.
    """
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            name = clean(line.decode())
        except UnicodeDecodeError as error:
            raise StartupError(f"line {number} is not UTF-8", exit_code=1) from error
        if name:
            found.setdefault(name, number)
    if not found:
        raise StartupError("there is no id to erase", exit_code=1)
    return found


def command(
    session: OperatorSession,
    persons: Mapping[str, int],
    *,
    delete_records: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase what can be erased of these persons; without ``yes``, show it.

    Raises:
        StartupError: a precondition is not met; the message says what to do first.
    """
    if yes:
        wait_until_group_empty(session)
        fence_instances(session.config, session.reader.metadata().values())
    traces = find(session, persons)
    possible = [one for one in traces.cuts if not one.blockers] if delete_records else []
    if yes:
        check_possible(session, traces)
        delete_letters(session, possible)
        erase_entries(session, traces)
    document = _document(session, traces, possible, done=yes)
    parts: list[Table | str] = [
        Table(
            f"data of {len(persons)} persons",
            ("topic", "records", "removed at the latest"),
            list(_rows(document)),
        ),
        *_not_found_lines(traces),
        *_ledger_lines(document, done=yes),
        *_input_lines(traces),
        *_cut_lines(traces.cuts, delete_records=delete_records, done=yes),
        AT_WOOTRIC,
    ]
    if not yes:
        parts.append("nothing was erased; repeat with --yes while no worker runs")
    show(document, parts, as_json=as_json)


def _not_found_lines(traces: Traces) -> Iterator[str]:
    if missing := traces.not_found():
        listed = ", ".join(map(str, missing))
        yield f"{len(missing)} of {len(traces.persons)} ids are in no record: number {listed}"


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
        "persons": len(traces.persons),
        "not_found": traces.not_found(),
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
