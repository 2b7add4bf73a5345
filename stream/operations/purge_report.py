"""purge: what is shown before and after, and the command itself."""

from collections.abc import Iterator
from typing import Any

from stream.operations import purge
from stream.operations.analysis.dead_letters import Kind
from stream.operations.analysis.purge_plan import NEVER, Cut
from stream.operations.analysis.time_text import when
from stream.operations.mail import topic_of
from stream.operations.output import Table, show
from stream.operations.purge import Traces
from stream.operations.session import Desk, now_ms
from stream.operations.vacancy import await_vacancy

AT_WOOTRIC = (
    "at Wootric they stay: that is for Segment's delete call with WOOTRIC__DELETE_USERS=true, "
    "before this"
)


def command(desk: Desk, user: str, *, delete_records: bool, yes: bool, as_json: bool) -> None:
    """Erase what can be erased of a person; without ``yes``, show it.

    Raises:
        StartupError: it cannot be done now; the message says what to do first.
    """
    if yes:
        await_vacancy(desk)
    traces = purge.find(desk, user)
    possible = [one for one in traces.cuts if not one.blockers] if delete_records else []
    if yes:
        purge.erase(desk, traces)
        purge.cut(desk, possible)
    document = _document(desk, traces, possible, done=yes)
    parts: list[Table | str] = [
        Table(
            "what is there of them",
            ("topic", "records", "gone at the latest"),
            list(_rows(document)),
        ),
        *_ledger_lines(document, done=yes),
        *_input_lines(traces),
        *_cut_lines(traces.cuts, delete_records=delete_records, done=yes),
        AT_WOOTRIC,
    ]
    if not yes:
        parts.append("nothing was erased; do it with --yes, while no worker runs")
    show(document, parts, as_json=as_json)


def _document(desk: Desk, traces: Traces, possible: list[Cut], *, done: bool) -> dict[str, Any]:
    config, keeping = desk.config, traces.keeping
    newest_ms = now_ms() if traces.entries else traces.ledger_newest_ms
    ledger = keeping[config.ledger_topic]
    letters = {
        str(kind): [
            {
                "place": str(one.place),
                "reason": one.letter.reason,
                "gone_by": _moment(keeping[topic_of(config, kind)].gone_by(one.written_ms)),
            }
            for one in traces.letters
            if one.kind is kind
        ]
        for kind in Kind
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
            "gone_by": _moment(keeping[config.topic].gone_by(traces.input_newest_ms))
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
            "ledger: profiles and request bodies of before, and the names in their keys, go when "
            "the log is compacted; set max.compaction.lag.ms on the topic to bound that"
        )
    if part["open_requests"]:
        yield "ledger: a request about them is open: a worker has to resolve it first"
    yield (
        "ledger: receipts stay until the dedupe window is over. They name events by messageId, and "
        "hold nothing of a person; without them a replay would have a second effect"
    )


def _input_lines(traces: Traces) -> Iterator[str]:
    if traces.input_count:
        yield "input: only retention removes records there"
    if traces.unsettled:
        yield (
            f"input: {traces.unsettled} of their events are not settled: they would be delivered, "
            "and remembered anew; let the workers finish before"
        )


def _cut_lines(all_cuts: list[Cut], *, delete_records: bool, done: bool) -> Iterator[str]:
    for one in all_cuts:
        where = f"{one.kind}s, partition {one.partition}"
        if one.blockers:
            listed = ", ".join(str(place) for place in one.blockers[:5])
            yield (
                f"{where}: Kafka deletes from the beginning only, and {len(one.blockers)} letters "
                f"of others wait there for somebody ({listed}): replay or dismiss them first, or "
                "wait for retention"
            )
        elif delete_records:
            verb = "was" if done else "would be"
            yield f"{where}: all before offset {one.before} {verb} deleted, {one.others} of others"
        else:
            yield f"{where}: --delete-records would delete all before offset {one.before}"


def _moment(time_ms: float) -> str:
    return "never: the topic keeps them for ever" if time_ms == NEVER else when(time_ms)
