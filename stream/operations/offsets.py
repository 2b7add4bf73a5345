"""offsets reset: the group's offsets, so that events are read and evaluated again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from stream.errors import StartupError
from stream.kafka.metadata import offsets_at, reset_offsets
from stream.operations.analysis.plans import LedgerRange, OffsetReset, accept_loss, plan_reset
from stream.operations.output import Table, show
from stream.operations.session import OperatorSession, wait_until_group_empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to reset: a time, an offset or else the earliest record; no partitions: all of them.

    With ``accept_ledger_loss`` the offsets stay, and workers continue with the remaining ledger.
    """

    time_ms: int | None = None
    offset: int | None = None
    accept_ledger_loss: bool = False
    partitions: Collection[int] = ()


def reset(session: OperatorSession, target: Target, *, yes: bool, as_json: bool) -> None:
    """Reset the offsets; without ``yes``, show the plan.

    Raises:
        StartupError: the group has members, a partition does not exist, or the ledger does
            not reach back that far.
    """
    config = session.config
    if yes:
        wait_until_group_empty(session)
    begins, ends = session.reader.begins(config.topic), session.reader.ends(config.topic)
    unknown = set(target.partitions) - begins.keys()
    if unknown:
        listed = ", ".join(map(str, sorted(unknown)))
        raise StartupError(f"{config.topic} has no partition {listed}", exit_code=1)
    chosen = sorted(target.partitions or begins)
    committed, metadata = session.reader.committed(), session.reader.metadata()
    gone = session.ledger_gone(metadata)
    safe = _safe_from(session, chosen, begins, ends)
    known = {
        number: LedgerRange(
            begin=begins[number],
            end=ends[number],
            committed=committed.get(number),
            safe_from=safe[number],
            ledger_gone=gone.get(number, 0),
        )
        for number in chosen
    }
    if target.accept_ledger_loss:
        moves, metadata = accept_loss(known), {}
    else:
        moves = plan_reset(_wanted(session, target, chosen, ends), known)
    targets = {one.partition: one.target for one in moves if one.target is not None}
    unsafe = [one for one in moves if one.unsafe]
    if yes and unsafe:
        listed = "; ".join(f"partition {one.partition}: {one.text}" for one in unsafe)
        raise StartupError(f"nothing was changed. {listed}", exit_code=1)
    if yes and targets:
        reset_offsets(config, targets, metadata)
    _show(moves, [] if yes else session.reader.group.members(), done=yes, as_json=as_json)


def _wanted(
    session: OperatorSession, target: Target, chosen: Collection[int], ends: Mapping[int, int]
) -> dict[int, int]:
    if target.time_ms is not None:
        found = offsets_at(session.config, dict.fromkeys(chosen, target.time_ms))
        return {number: ends[number] if at is None else at for number, at in found.items()}
    return dict.fromkeys(chosen, target.offset or 0)


def _safe_from(
    session: OperatorSession,
    chosen: Collection[int],
    begins: Mapping[int, int],
    ends: Mapping[int, int],
) -> dict[int, int]:
    """Return by partition the first offset whose receipt the ledger must still have.

    That is the first of the input, unless the ledger itself has lost its beginning.
    """
    ledger = session.config.ledger_topic
    safe = {number: begins[number] for number in chosen}
    oldest: dict[int, int] = {}
    for number, begin in session.reader.begins(ledger).items():
        if number not in safe or begin == 0:
            continue
        first = next(iter(session.reader.read(ledger, begins={number: begin})), None)
        safe[number] = ends[number]
        if first is not None:
            oldest[number] = first.timestamp_ms
    found = offsets_at(session.config, oldest) if oldest else {}
    return safe | {number: at for number, at in found.items() if at is not None}


def _show(
    moves: Collection[OffsetReset], members: Collection[str], *, done: bool, as_json: bool
) -> None:
    document = {
        "partitions": [
            {
                "partition": one.partition,
                "committed": one.committed,
                "target": one.target,
                "records": one.records,
                "unsafe": one.unsafe,
                "text": one.text,
            }
            for one in moves
        ],
        "members": list(members),
        "done": done,
    }
    rows = [
        (
            one.partition,
            "none" if one.committed is None else one.committed,
            "unchanged" if one.target is None else one.target,
            one.text,
        )
        for one in moves
    ]
    parts: list[Table | str] = [
        Table("offsets", ("partition", "committed", "target", "effect"), rows)
    ]
    if done:
        parts.append("the offsets are reset; start the workers")
    else:
        if members:
            parts.append(f"first stop the workers: {', '.join(members)} are in the group")
        if any(one.unsafe for one in moves):
            parts.append("this would be refused: the ledger does not reach back that far")
        parts.append("nothing was changed; repeat with --yes to reset")
    show(document, parts, as_json=as_json)
