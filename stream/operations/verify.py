"""verify: whether every event before the committed offsets has ended, and only once.

It may be run while workers run: the committed offsets are read first, and every topic is
then read further than the transactions reach that committed them.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stream.errors import StartupError
from stream.operations.analysis.audit import Audit
from stream.operations.analysis.dead_letters import Kind as LetterKind
from stream.operations.analysis.dead_letters import Letter, read_letter
from stream.operations.analysis.flaws import NEVER_MS, Findings, Flaw, Kind, Letters, Span
from stream.operations.output import show
from stream.operations.session import Desk, watched
from stream.operations.verdict import Report, shown
from stream.state.ledger_codec import EventOutcome

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Posted:
    """The letters of a topic by the partition and offset of their events.

    Those written before ``from_ms`` may have been removed by retention.
    """

    letters: Mapping[int, Mapping[int, list[Letter]]]
    from_ms: float


def verify(desk: Desk) -> Report:
    """Compare all partitions, one after the other.

    Raises:
        StartupError: the group has committed nothing.
    """
    survey, config = desk.survey, desk.config
    committed, metadata = survey.committed(), survey.metadata()
    begins, ends = survey.begins(config.topic), survey.ends(config.topic)
    if not committed and begins != ends:
        raise StartupError(
            f"the group {config.group_id} has committed nothing of {config.topic}: there is "
            "nothing to verify; check KAFKA__GROUP_ID",
            exit_code=1,
        )
    posted = {
        EventOutcome.REJECTED: _posted(desk, config.dead_letter_topic, LetterKind.DEAD),
        EventOutcome.PARKED: _posted(desk, config.parked_topic, LetterKind.PARKED),
    }
    ledger_begins, gone = survey.begins(config.ledger_topic), desk.ledger_gone(metadata)
    report = Report()
    for number, begin in sorted(begins.items()):
        upto = committed.get(number, begin)
        report.behind += max(0, ends[number] - max(upto, begin))
        _note_bounds(report, number, begin=begin, upto=upto, end=ends[number])
        if number in gone:
            text = f"its ledger has lost {gone[number]} records since this offset was committed"
            flaw = Flaw(kind=Kind.TORN, partition=number, offset=upto, text=text)
            report.findings.add(flaw)
        span = Span(
            partition=number,
            begin=begin,
            committed=max(begin, min(upto, ends[number])),
            letters_from_ms={outcome: one.from_ms for outcome, one in posted.items()},
        )
        letters = {outcome: one.letters.get(number, {}) for outcome, one in posted.items()}
        report.spans.append(span)
        if number in ledger_begins:
            _audit(desk, report.findings, span, letters, ledger_begins[number])
        else:
            report.notes.append(f"partition {number}: it has no ledger, and stands still")
    _note_rest(report)
    return report


def _audit(desk: Desk, findings: Findings, span: Span, letters: Letters, ledger_begin: int) -> None:
    """Compare one partition."""
    number = span.partition
    entries = desk.survey.read(desk.config.ledger_topic, begins={number: ledger_begin})
    first = next(entries, None)
    if ledger_begin > 0:
        span = replace(span, ledger_from_ms=FOREVER if first is None else first.timestamp_ms)
    audit = Audit(span, letters, findings)
    if first is not None:
        audit.entry(first)
    for record in watched(entries, f"ledger records of partition {number} read"):
        audit.entry(record)
    records = desk.survey.read(
        desk.config.topic, begins={number: span.begin}, stops={number: span.committed}
    )
    total = span.committed - span.begin
    for record in watched(records, f"records of partition {number} compared", total):
        audit.event(desk.judge(record))
    audit.close()


def _posted(desk: Desk, topic: str, kind: LetterKind) -> Posted:
    """Return the letters of a topic, without their bytes."""
    begins = desk.survey.begins(topic)
    oldest = {number: FOREVER for number, begin in begins.items() if begin > 0}
    letters: dict[int, dict[int, list[Letter]]] = defaultdict(lambda: defaultdict(list))
    for record in watched(desk.survey.read(topic, begins=begins), f"records of {topic} read"):
        number = record.partition.number
        if number in oldest:
            oldest[number] = min(oldest[number], record.timestamp_ms)
        letter = read_letter(record, kind)
        if letter is not None and letter.letter.origin.topic == desk.config.topic:
            letters[letter.letter.origin.number][letter.letter.offset].append(letter.bare())
    return Posted(letters, max(oldest.values(), default=NEVER_MS))


def _note_bounds(report: Report, number: int, *, begin: int, upto: int, end: int) -> None:
    """Note what of a partition cannot be compared."""
    if upto < begin:
        text = f"retention removed {begin - upto} records from here on before they were read"
        report.findings.add(
            Flaw(kind=Kind.MISSING, partition=number, offset=upto, text=text), begin - upto
        )
    elif upto > end:
        text = "the committed offset lies behind the end: was the topic made anew?"
        report.findings.add(Flaw(kind=Kind.TORN, partition=number, offset=upto, text=text))
    if begin > 0:
        text = f"partition {number}: retention has removed what lies before offset {begin}"
        report.notes.append(f"{text}; compared from there on")


def _note_rest(report: Report) -> None:
    findings = report.findings
    if report.behind:
        report.notes.append(
            f"behind the committed offsets, and not compared: {report.behind} records"
        )
    if findings.in_doubt:
        report.notes.append(
            f"requests under way or in doubt: {findings.in_doubt} (`wootric-stream in-doubt list` "
            "names them)"
        )
    if findings.expired:
        report.notes.append(
            f"without a receipt, and older than what the ledger still holds: {findings.expired} "
            "events; nobody can say how they ended"
        )
    if findings.unreadable:
        report.notes.append(
            f"ledger entries of a newer version: {findings.unreadable}; the figures are not right, "
            "run verify of that version"
        )


def command(desk: Desk, *, limit: int, as_json: bool) -> bool:
    """Verify, print, and return whether all agrees."""
    report = verify(desk)
    document, parts = shown(report, desk.config, limit)
    show(document, parts, as_json=as_json)
    return report.agrees
