"""What verify has found, as a document and as tables and sentences."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream.kafka.config import KafkaConfig
from stream.operations.analysis.flaws import Findings, Flaw, Kind, Span
from stream.operations.output import Table

ADVICE: Mapping[Kind, str] = {
    Kind.MISSING: "see what `wootric-stream trace` says of it; `wootric-stream replay` lets it be "
    "read again",
    Kind.DUPLICATE: "look in Wootric, and for who writes to the ledger or the letters by hand",
    Kind.UNSETTLED: "a worker settles it when it resolves the request; if none does, set the "
    "offset back with `wootric-stream replay`",
    Kind.TORN: "part of a transaction is gone: look for who deletes or writes records by hand, "
    "and for unclean leader elections",
}


@dataclass(slots=True)
class Report:
    """What verify has found. ``notes`` says what was not compared, and why."""

    findings: Findings = field(default_factory=Findings)
    spans: list[Span] = field(default_factory=list)
    behind: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether all that was compared agrees."""
        return not self.findings.counts.total() and not self.findings.unreadable


def shown(
    report: Report, config: KafkaConfig, limit: int
) -> tuple[dict[str, Any], list[Table | str]]:
    """Return the report as a document, and as tables and sentences."""
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
        "flaws": {str(kind): findings.counts[kind] for kind in Kind},
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
        Table(f"what is wrong in {config.topic}", ("", "place", "event", "how"), examples),
        *report.notes,
        *_verdict(report),
    ]
    return document, parts


def _flaw(flaw: Flaw, topic: str) -> dict[str, Any]:
    return {
        "kind": flaw.kind,
        "topic": topic,
        "partition": flaw.partition,
        "offset": flaw.offset,
        "message_id": flaw.message_id,
        "event_id": flaw.event_id,
        "text": flaw.text,
    }


def _verdict(report: Report) -> Iterator[str]:
    if report.agrees:
        yield f"all agrees: {report.findings.events} events, each ended once"
        return
    for kind, count in sorted(report.findings.counts.items()):
        yield f"{count} {kind}: {ADVICE[kind]}"
    yield "IT DOES NOT AGREE"
