"""dlq list, replay and dismiss: what was refused and why, and its way back into the input."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from stream.operations import mail
from stream.operations.analysis.dead_letters import Done, Kind, Letter, Selection, counted, outcome
from stream.operations.analysis.time_text import when
from stream.operations.mail import Post, read_post
from stream.operations.output import Table, letter_document, show
from stream.operations.session import Desk

STALE = "skipped: stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which letters are meant: of one partition of the dead-letter topic, or of all."""

    selection: Selection
    partition: int | None = None


def list_letters(desk: Desk, wanted: Wanted, *, limit: int, outcomes: bool, as_json: bool) -> None:
    """Print how many letters there are by reason, and the newest of them."""
    post = _read(desk, wanted, named=outcomes)
    receipts = desk.receipts(n for one in post.letters for n in one.names) if outcomes else {}
    newest = sorted(post.letters, key=lambda one: -one.letter.failed_at_ms)[:limit]
    document = {
        "counts": {reason: count for reason, (count, _, _) in counted(post.letters).items()},
        "open": len(post.open()),
        "total": len(post.letters),
        "letters": [letter_document(one, post.state(one, receipts)) for one in newest],
        "foreign": post.foreign,
    }
    columns = ("place", "failed at", "reason", "message", "input", "state", "detail")
    rows = [
        (
            one.place,
            when(one.letter.failed_at_ms),
            one.letter.reason,
            one.letter.message_id or "",
            f"{one.letter.origin.number}-{one.letter.offset}",
            post.state(one, receipts),
            one.letter.detail,
        )
        for one in newest
    ]
    parts: list[Table | str] = [
        _by_reason(post.letters, f"dead letters: {len(post.letters)}"),
        Table(f"the newest {len(newest)}", columns, rows),
        f"{document['open']} wait for somebody; `dlq show PLACE` says more of one"
        if post.letters
        else "no dead letters",
        *_foreign(post),
    ]
    show(document, parts, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaying:
    """How letters go back: at most ``limit`` of them, ``rate`` a second."""

    limit: int | None = None
    rate: float | None = None
    force: bool = False


def replay(desk: Desk, wanted: Wanted, how: Replaying, *, yes: bool, as_json: bool) -> None:
    """Send letters back into the input; without ``yes``, show which."""
    post = _read(desk, wanted, named=how.force)
    meant = _stale(desk, post) if how.force else post.open()
    lost = [one for one in meant if one.size is None]
    meant = [one for one in meant if one.size is not None]
    done_before = len(post.letters) - len(meant) - len(lost)
    meant = meant[: how.limit]
    places = {one.place for one in meant}
    sent = mail.replay(desk, Kind.DEAD, places, rate=how.rate, force=how.force) if yes else 0
    document = {
        "counts": {reason: count for reason, (count, _, _) in counted(meant).items()},
        "meant": len(meant),
        "sent": sent,
        "done_before": done_before,
        "without_bytes": len(lost),
        "force": how.force,
    }
    parts: list[Table | str] = [_by_reason(meant, f"to replay: {len(meant)}")]
    if done_before:
        parts.append(f"{done_before} more were replayed or dismissed before, and are left alone")
    if lost:
        parts.append(f"{len(lost)} more have no bytes: send their events anew")
    parts += _foreign(post)
    parts.append(f"sent: {sent}" if yes else "nothing was sent; send with --yes")
    show(document, parts, as_json=as_json)


def dismiss(desk: Desk, wanted: Wanted, *, text: str, yes: bool, as_json: bool) -> None:
    """Note that nothing is to be done about letters; without ``yes``, show which."""
    post = _read(desk, wanted)
    meant = post.open()
    count = mail.note(desk, Kind.DEAD, meant, Done.DISMISSED, text) if yes else 0
    document = {
        "counts": {reason: count for reason, (count, _, _) in counted(meant).items()},
        "meant": len(meant),
        "dismissed": count,
    }
    parts: list[Table | str] = [
        _by_reason(meant, f"to dismiss: {len(meant)}"),
        f"dismissed: {count}" if yes else "nothing was noted; do it with --yes",
    ]
    show(document, parts, as_json=as_json)


def _read(desk: Desk, wanted: Wanted, *, named: bool = False) -> Post:
    return read_post(desk, Kind.DEAD, wanted.selection, partition=wanted.partition, named=named)


def _stale(desk: Desk, post: Post) -> list[Letter]:
    """Return the letters that force is for: never replayed, or stale when they were.

    With force they are other events: what was delivered must not be sent once more.
    """
    receipts = desk.receipts(name for one in post.letters for name in one.names)

    def meant(one: Letter) -> bool:
        done = post.notes.get(one.place, set())
        ended = outcome(receipts[name] for name in one.names if name in receipts)
        return ended == STALE and Done.FORCED not in done if ended else not done

    return [one for one in post.letters if meant(one)]


def _by_reason(letters: Collection[Letter], title: str) -> Table:
    rows = [
        (count, reason, when(oldest), when(newest))
        for reason, (count, oldest, newest) in counted(letters).items()
    ]
    return Table(title, ("letters", "reason", "oldest", "newest"), rows)


def _foreign(post: Post) -> Sequence[str]:
    text = "records were written by somebody else or come from another input, and are left alone"
    return [f"{post.foreign} {text}"] if post.foreign else []
