"""verify: check that every event before the committed offsets is settled exactly once.

Safe while workers run: the committed offsets are read first, and then every topic beyond the
transactions that committed them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stream.errors import StartupError
from stream.kafka.config import KafkaConfig
from stream.operations.analysis.audit import (
    NEVER_MS,
    Audit,
    AuditResult,
    Discrepancy,
    DiscrepancyKind,
    Letters,
    OffsetRange,
)
from stream.operations.analysis.dead_letters import LetterStatus as LetterKind
from stream.operations.analysis.dead_letters import ListedDeadLetter, read_letter
from stream.operations.output import Table, show
from stream.operations.session import OperatorSession, with_progress
from stream.state.ledger import EventOutcome

# The report


ADVICE: Mapping[DiscrepancyKind, str] = {
    DiscrepancyKind.MISSING: (
        "inspect it with `wootric-stream trace`; read it again with `wootric-stream offsets reset`"
    ),
    DiscrepancyKind.DUPLICATE: (
        "check Wootric, and whether another program writes to the ledger or the dead letters"
    ),
    DiscrepancyKind.UNSETTLED: (
        "a worker settles it when it resolves the request; if none does, reset the offset with "
        "`wootric-stream offsets reset`"
    ),
    DiscrepancyKind.TORN: (
        "part of a transaction is gone: check for records that were deleted or written manually, "
        "and for unclean leader elections"
    ),
}


@dataclass(slots=True)
class VerifyReport:
    """Result of a verification. ``notes`` name what was not compared, and why."""

    findings: AuditResult = field(default_factory=AuditResult)
    spans: list[OffsetRange] = field(default_factory=list)
    behind: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether nothing disagrees and everything was readable."""
        return not self.findings.counts.total() and not self.findings.unreadable


def to_document(
    report: VerifyReport, config: KafkaConfig, limit: int
) -> tuple[dict[str, Any], list[Table | str]]:
    """Return the report as a document, and as tables and lines of text."""
    findings = report.findings
    outcomes: dict[str, int] = defaultdict(int)
    for (outcome, _), count in findings.settled.items():
        outcomes[outcome] += count
    flaws = sorted(findings.flaws, key=lambda one: (one.partition, one.offset, one.kind))
    document = {
        "agrees": report.agrees,
        "group": config.group_id,
        "topic": config.topic,
        "events": findings.events,
        "outcomes": dict(outcomes),
        "reasons": {f"{a}/{b}": n for (a, b), n in sorted(findings.settled.items()) if b},
        "flaws": {str(kind): findings.counts[kind] for kind in DiscrepancyKind},
        "examples": [_flaw(one, config.topic) for one in flaws[:limit]],
        "partitions": [
            {"partition": one.partition, "from": one.begin, "to": one.committed}
            for one in report.spans
        ],
        "not_compared": {"behind": report.behind, "expired": findings.expired},
        "in_doubt": findings.in_doubt,
        "notes": report.notes,
    }
    settled = [(*name, count) for name, count in sorted(findings.settled.items())]
    examples = [
        (one.kind, f"{one.partition}-{one.offset}", one.message_id or one.event_id or "", one.text)
        for one in flaws[:limit]
    ]
    parts: list[Table | str] = [
        Table(f"{findings.events} events compared", ("outcome", "reason", "events"), settled),
        Table(f"discrepancies in {config.topic}", ("kind", "place", "event", "text"), examples),
        *report.notes,
        *_verdict(report),
    ]
    return document, parts


def _flaw(flaw: Discrepancy, topic: str) -> dict[str, Any]:
    return {
        "kind": flaw.kind,
        "topic": topic,
        "partition": flaw.partition,
        "offset": flaw.offset,
        "message_id": flaw.message_id,
        "event_id": flaw.event_id,
        "text": flaw.text,
    }


def _verdict(report: VerifyReport) -> Iterator[str]:
    if report.agrees:
        yield f"all agrees: {report.findings.events} events, each settled once"
        return
    for kind, count in sorted(report.findings.counts.items()):
        yield f"{count} {kind}: {ADVICE[kind]}"
    yield "IT DOES NOT AGREE"


FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class TopicLetters:
    """Records of a dead-letter or parked topic by partition and offset of their events.

    Retention may have removed those written before ``from_ms``.
    """

    letters: Mapping[int, Mapping[int, list[ListedDeadLetter]]]
    from_ms: float


def verify(session: OperatorSession) -> VerifyReport:
    """Compare all partitions, one at a time.

    Raises:
        StartupError: the group has committed nothing.
    """
    reader, config = session.reader, session.config
    committed, metadata = reader.committed(), reader.metadata()
    begins, ends = reader.begins(config.topic), reader.ends(config.topic)
    if not committed and begins != ends:
        raise StartupError(
            f"the group {config.group_id} has committed nothing of {config.topic}: there is "
            "nothing to verify; check KAFKA__GROUP_ID",
            exit_code=1,
        )
    letters_of = {
        EventOutcome.REJECTED: _read_letters(session, config.dead_letter_topic, LetterKind.DEAD),
        EventOutcome.PARKED: _read_letters(session, config.parked_topic, LetterKind.PARKED),
    }
    ledger_begins, gone = reader.begins(config.ledger_topic), session.ledger_gone(metadata)
    report = VerifyReport()
    for number, begin in sorted(begins.items()):
        upto = committed.get(number, begin)
        report.behind += max(0, ends[number] - max(upto, begin))
        _note_bounds(report, number, begin=begin, upto=upto, end=ends[number])
        if number in gone:
            text = f"its ledger has lost {gone[number]} records since this offset was committed"
            flaw = Discrepancy(kind=DiscrepancyKind.TORN, partition=number, offset=upto, text=text)
            report.findings.add(flaw)
        span = OffsetRange(
            partition=number,
            begin=begin,
            committed=max(begin, min(upto, ends[number])),
            letters_from_ms={outcome: one.from_ms for outcome, one in letters_of.items()},
        )
        letters = {outcome: one.letters.get(number, {}) for outcome, one in letters_of.items()}
        report.spans.append(span)
        if number in ledger_begins:
            _audit(session, report.findings, span, letters, ledger_begins[number])
        else:
            report.notes.append(f"partition {number}: it has no ledger, and is paused")
    _note_rest(report)
    return report


def _audit(
    session: OperatorSession,
    findings: AuditResult,
    span: OffsetRange,
    letters: Letters,
    ledger_begin: int,
) -> None:
    """Compare one partition, and add the result to the findings."""
    number = span.partition
    entries = session.reader.read(session.config.ledger_topic, begins={number: ledger_begin})
    first = next(entries, None)
    if ledger_begin > 0:
        span = replace(span, ledger_from_ms=FOREVER if first is None else first.timestamp_ms)
    audit = Audit(span, letters, findings)
    if first is not None:
        audit.entry(first)
    for record in with_progress(entries, f"ledger records of partition {number} read"):
        audit.entry(record)
    records = session.reader.read(
        session.config.topic, begins={number: span.begin}, stops={number: span.committed}
    )
    total = span.committed - span.begin
    for record in with_progress(records, f"records of partition {number} compared", total):
        audit.event(session.prepare(record))
    audit.close()


def _read_letters(session: OperatorSession, topic: str, kind: LetterKind) -> TopicLetters:
    """Return the records of a dead-letter or parked topic, without their values."""
    begins = session.reader.begins(topic)
    oldest = {number: FOREVER for number, begin in begins.items() if begin > 0}
    letters: dict[int, dict[int, list[ListedDeadLetter]]] = defaultdict(lambda: defaultdict(list))
    for record in with_progress(
        session.reader.read(topic, begins=begins), f"records of {topic} read"
    ):
        number = record.partition.number
        if number in oldest:
            oldest[number] = min(oldest[number], record.timestamp_ms)
        letter = read_letter(record, kind)
        if letter is not None and letter.letter.origin.topic == session.config.topic:
            letters[letter.letter.origin.number][letter.letter.offset].append(letter.bare())
    return TopicLetters(letters, max(oldest.values(), default=NEVER_MS))


def _note_bounds(report: VerifyReport, number: int, *, begin: int, upto: int, end: int) -> None:
    """Add notes and discrepancies for what is outside the topic's bounds."""
    if upto < begin:
        text = f"retention removed {begin - upto} records from this offset on before they were read"
        report.findings.add(
            Discrepancy(kind=DiscrepancyKind.MISSING, partition=number, offset=upto, text=text),
            begin - upto,
        )
    elif upto > end:
        text = "the committed offset is beyond the end: was the topic recreated?"
        report.findings.add(
            Discrepancy(kind=DiscrepancyKind.TORN, partition=number, offset=upto, text=text)
        )
    if begin > 0:
        text = f"partition {number}: retention has removed the records before offset {begin}"
        report.notes.append(f"{text}; only the rest is compared")


def _note_rest(report: VerifyReport) -> None:
    findings = report.findings
    if report.behind:
        report.notes.append(f"not compared, after the committed offsets: {report.behind} records")
    if findings.in_doubt:
        report.notes.append(
            f"requests in flight or in doubt: {findings.in_doubt} (`wootric-stream in-doubt list` "
            "lists them)"
        )
    if findings.expired:
        report.notes.append(
            f"without a receipt, and older than the ledger's oldest entries: {findings.expired} "
            "events; their outcome is unknown"
        )
    if findings.unreadable:
        report.notes.append(
            f"ledger entries of a newer version: {findings.unreadable}; the numbers are wrong, run "
            "verify of that version"
        )


def command(session: OperatorSession, *, limit: int, as_json: bool) -> bool:
    """Print the report; return whether all agrees."""
    report = verify(session)
    document, parts = to_document(report, session.config, limit)
    show(document, parts, as_json=as_json)
    return report.agrees
