"""pause, resume: the input is held while the workers stay."""

from collections.abc import Collection, Mapping

from stream.errors import StartupError
from stream.kafka.input_pause import PauseReader, commit_pauses
from stream.kafka.protocol import InputPause
from stream.operations.audit import input_changed
from stream.operations.output import Table, show
from stream.operations.session import OperatorSession, now_ms
from stream.record import Partition


def pause(
    session: OperatorSession, partitions: Collection[int], *, yes: bool, as_json: bool
) -> None:
    """Pause these partitions, or all; without ``yes``, show what would be done.

    One that is paused stays so since then, and its offset is committed again, or it would expire.

    Raises:
        StartupError: a partition does not exist.
    """
    before = _read(session, partitions)
    new = InputPause(now_ms())
    _apply(session, before, {one: found or new for one, found in before.items()}, yes=yes)
    done = "paused: within seconds workers send nothing more, and `wootric-stream status` shows it"
    effects = ("is paused", "stays paused")
    _show(session, before, effects, done if yes else None, as_json=as_json)


def resume(
    session: OperatorSession, partitions: Collection[int], *, yes: bool, as_json: bool
) -> None:
    """Resume these partitions, or all; without ``yes``, show what would be done.

    Raises:
        StartupError: a partition does not exist.
    """
    before = _read(session, partitions)
    paused = [one for one, found in before.items() if found is not None]
    _apply(session, before, dict.fromkeys(paused), yes=yes)
    done = "resumed: within seconds workers read on"
    effects = ("unchanged", "is read again")
    _show(session, before, effects, done if yes else None, as_json=as_json)


def _read(
    session: OperatorSession, partitions: Collection[int]
) -> dict[Partition, InputPause | None]:
    """Return the chosen partitions with their pauses."""
    topic = session.config.topic
    existing = session.reader.partitions(topic)
    unknown = set(partitions) - set(existing)
    if unknown:
        listed = ", ".join(map(str, sorted(unknown)))
        raise StartupError(f"{topic} has no partition {listed}", exit_code=1)
    chosen = [Partition(topic, number) for number in sorted(set(partitions) or existing)]
    reader = PauseReader(session.config)
    try:
        pauses = reader.read(chosen)
    finally:
        reader.close()
    return {one: pauses.get(one) for one in chosen}


def _apply(
    session: OperatorSession,
    before: Mapping[Partition, InputPause | None],
    after: Mapping[Partition, InputPause | None],
    *,
    yes: bool,
) -> None:
    if not yes or not after:
        return
    changed = [one.number for one in after if after[one] != before[one]]
    paused = any(pause is not None for pause in after.values())
    input_changed("pause" if paused else "resume", partitions=changed)
    commit_pauses(session.config, after)


def _show(
    session: OperatorSession,
    before: Mapping[Partition, InputPause | None],
    effects: tuple[str, str],
    done: str | None,
    *,
    as_json: bool,
) -> None:
    """Show each partition with the first effect if it was read, the second if it was paused."""
    rows, partitions = [], []
    for one, pause in before.items():
        effect = effects[pause is not None]
        since = None if pause is None else pause.since
        rows.append((one.number, "read" if since is None else f"paused since {since}", effect))
        partitions.append({"partition": one.number, "paused_since": since, "effect": effect})
    document = {
        "group": session.config.pause_group_id,
        "partitions": partitions,
        "done": done is not None,
    }
    parts: list[Table | str] = [
        Table("input", ("partition", "state", "effect"), rows),
        done or "nothing was changed; repeat with --yes",
    ]
    show(document, parts, as_json=as_json)
