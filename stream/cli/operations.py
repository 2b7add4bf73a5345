"""Operator commands. A command imports what it needs of Kafka when it runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from stream.operations.analysis.time_text import parse_time
from stream.operations.output import EXIT_FAILED, exit_on_error

# Shared options and their parsers


AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of tables.")
]
Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", help="Execute. Without this, only show what would be done.")
]
Reasons: TypeAlias = Annotated[
    list[str] | None, typer.Option("--reason", help="Select only this reason; may be repeated.")
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Start at this time: 2026-03-02T08:00:00Z, or an age: 15m, 2h, 3d."
    ),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="End before this time, in the same formats.")
]
Rate: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.1, help="Send at most this many per second. Default: no limit."),
]
NoteText: TypeAlias = Annotated[
    str, typer.Option("--note", help="Reason to store with the decision; no personal data.")
]

T = TypeVar("T")


def read(reading: Callable[[str], T], text: str) -> T:
    """Return ``reading(text)``; its ValueError becomes a usage error."""
    try:
        return reading(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str | None) -> int | None:
    """Return a time option in milliseconds since 1970; None if it was not given."""
    now_ms = time.time_ns() // 1_000_000
    return None if text is None else read(lambda given: parse_time(given, now_ms), text)


# Dead letters


if TYPE_CHECKING:
    from stream.operations.dlq import DeadLetterQuery

dlq_app = typer.Typer(
    help="List, show, replay and dismiss dead letters: events that were rejected.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Partition: TypeAlias = Annotated[
    int | None, typer.Option(min=0, help="Select only this partition of the dead-letter topic.")
]


@dlq_app.command("list")
def dlq_list(
    *,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    limit: Annotated[int, typer.Option(min=0, help="Number of dead letters to show.")] = 20,
    outcomes: Annotated[
        bool, typer.Option("--outcomes", help="Show how replays ended; reads the whole ledger.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by reason, and show the newest.

    A dead letter is open until it is replayed or dismissed.
    """
    from stream.operations.dlq import list_letters  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    query = _query(reason, since, until, partition)
    with exit_on_error(), open_session() as session:
        list_letters(session, query, limit=limit, outcomes=outcomes, as_json=as_json)


@dlq_app.command("show")
def dlq_show(
    place: Annotated[
        str, typer.Argument(metavar="PARTITION-OFFSET", help="Its place in `dlq list`.")
    ],
    *,
    raw: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the original bytes to this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: its headers, its event, and how a replay would end now.

    The event is personal data, and is not masked.
    """
    from stream.operations.analysis.dead_letters import RecordPosition  # noqa: PLC0415
    from stream.operations.dlq import show_letter  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    found = read(RecordPosition.of, place)
    with exit_on_error(), open_session() as session:
        show_letter(session, found, raw=raw, as_json=as_json)


@dlq_app.command("replay")
def dlq_replay(
    *,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Replay at most this many. Default: all.")
    ] = None,
    rate: Rate = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Let identifies overwrite newer data; reads the whole ledger."
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to the input topic, with their key and bytes.

    The ledger removes duplicates: a dead letter takes effect once, even if it is sent repeatedly.
    One that is rejected again becomes a new dead letter. An identify that is older than the known
    state of its user is skipped as stale, unless --force is given. The command may be stopped and
    repeated at any time.
    """
    from stream.operations.dlq import ReplayOptions, replay  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    query = _query(reason, since, until, partition)
    options = ReplayOptions(limit=limit, rate=rate, force=force)
    with exit_on_error(), open_session() as session:
        replay(session, query, options, yes=yes, as_json=as_json)


@dlq_app.command("dismiss")
def dlq_dismiss(
    *,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    note: NoteText = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Close dead letters without a replay.

    The decision is a record in the dead-letter topic. The dead letters stay until retention
    removes them.
    """
    from stream.operations.dlq import dismiss  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    query = _query(reason, since, until, partition)
    with exit_on_error(), open_session() as session:
        dismiss(session, query, text=note, yes=yes, as_json=as_json)


def _query(
    reasons: list[str] | None, since: str | None, until: str | None, partition: int | None
) -> "DeadLetterQuery":
    from stream.operations.analysis.dead_letters import LetterFilter  # noqa: PLC0415
    from stream.operations.dlq import DeadLetterQuery  # noqa: PLC0415

    selection = LetterFilter(reasons=reasons or (), since_ms=moment(since), until_ms=moment(until))
    return DeadLetterQuery(selection=selection, partition=partition)


# Requests in doubt and parked events


in_doubt_app = typer.Typer(
    help="List requests that may or may not have been executed; decide about parked events.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@in_doubt_app.command("list")
def in_doubt_list(
    *,
    parked: Annotated[
        bool, typer.Option("--parked", help="List parked events that wait for a decision.")
    ] = False,
    decided: Annotated[
        bool, typer.Option("--decided", help="With --parked: include those already decided.")
    ] = False,
    show_personal: Annotated[
        bool, typer.Option("--show-personal", help="Show lanes unmasked: user ids and e-mails.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List open requests by lane, or parked events.

    A request is open from its intent to its outcome, usually for milliseconds. An older one is in
    doubt: its worker died, or no reply came. Workers resolve requests in doubt by themselves. If
    the outcome cannot be determined, they park the events for you to decide.
    """
    from stream.operations.in_doubt import list_open, list_parked  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    if decided and not parked:
        raise typer.BadParameter("--decided requires --parked")
    with exit_on_error(), open_session() as session:
        if parked:
            list_parked(session, everything=decided, as_json=as_json)
        else:
            list_open(session, show_personal=show_personal, as_json=as_json)


@in_doubt_app.command("resolve")
def in_doubt_resolve(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PARTITION-OFFSET]...", help="Their places in `in-doubt list --parked`."
        ),
    ] = None,
    *,
    decision: Annotated[
        str,
        typer.Option(
            "--as", metavar="resend|dismiss", help="Send the events again, or close them."
        ),
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="Select all that wait for a decision, instead of places.")
    ] = False,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    rate: Rate = None,
    note: NoteText = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Resend or dismiss parked events.

    resend sends them back to the input topic, and the ledger removes duplicates if the command is
    repeated. Their effect may then exist twice, since it is unknown whether the first request was
    executed. dismiss records in the parked topic that nothing is to be done.
    """
    from stream.operations.analysis.dead_letters import LetterFilter, RecordPosition  # noqa: PLC0415
    from stream.operations.in_doubt import Decision, ResolveRequest, resolve  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    chosen = {read(RecordPosition.of, text) for text in places or ()}
    if bool(chosen) == everything:
        raise typer.BadParameter("name places, or give --all")
    request = ResolveRequest(
        decision=read(Decision, decision),
        selection=LetterFilter(
            reasons=reason or (), since_ms=moment(since), until_ms=moment(until), places=chosen
        ),
        places=chosen,
        text=note,
        rate=rate,
    )
    with exit_on_error(), open_session() as session:
        resolve(session, request, yes=yes, as_json=as_json)


operate_app = typer.Typer(rich_markup_mode=None)
operate_app.add_typer(dlq_app, name="dlq")
operate_app.add_typer(in_doubt_app, name="in-doubt")


@operate_app.command()
def verify(
    *,
    limit: Annotated[int, typer.Option(min=0, help="Number of discrepancies to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Compare the topics and the offsets; report lost, repeated and inconsistent events.

    Compares input, ledger, dead letters, parked events and committed offsets. Only events before
    the group's committed offsets count, so workers may run meanwhile. missing: no receipt.
    duplicate: settled twice. unsettled: its request is open although the offset has passed it.
    torn: a receipt without its dead letter or parked event, or the reverse.
    Events that the transform skips have no receipt; they are evaluated again with this
    environment's WOOTRIC__DELETE_USERS. Exit 0 only if everything agrees.
    """
    from stream.operations import verify as audit  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    with exit_on_error(), open_session() as session:
        agrees = audit.command(session, limit=limit, as_json=as_json)
    raise typer.Exit(0 if agrees else EXIT_FAILED)


@operate_app.command()
def trace(
    message_id: Annotated[
        str | None, typer.Argument(help="Segment's messageId of the event.")
    ] = None,
    *,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="Show an end user: external id or e-mail.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="PARTITION-OFFSET", help="Show a record of the input.")
    ] = None,
    since: Since = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="Search the whole input, including duplicates.")
    ] = False,
    last: Annotated[int, typer.Option(min=1, help="With --user: number of events to show.")] = 10,
    wootric: Annotated[
        bool, typer.Option("--wootric", help="Ask Wootric for the id of a survey without one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where an event is and why, or what is known about an end user.

    Reads ledger, dead letters, parked events and open requests. In the input it reads the records
    that these name and those not settled yet, or everything if they name none. --user searches the
    last 24 hours of the input, or from --since on. E-mails are masked. Exit 1 if nothing is found.

    The receipt of a response or decline may have no Wootric id. --wootric then searches Wootric by
    its fields for at most 5 s, and needs the WOOTRIC__ settings. A failure keeps the exit code.
    """
    from stream.operations.analysis.dead_letters import RecordPosition  # noqa: PLC0415
    from stream.operations.session import now_ms, open_session  # noqa: PLC0415
    from stream.operations.trace import Person, Search, trace_event, trace_place, trace_user  # noqa: PLC0415

    if sum(one is not None for one in (message_id, user, at)) != 1 or (user and wootric):
        raise typer.BadParameter("give a messageId, --user or --at; --user excludes --wootric")
    since_ms = moment(since)
    place = None if at is None else read(RecordPosition.of, at)
    search = Search(since_ms=since_ms, everywhere=everywhere, wootric=wootric)
    with exit_on_error(), open_session() as session:
        if place is not None:
            found = trace_place(session, place, search, as_json=as_json)
        elif user is not None:
            since_ms = now_ms() - 86_400_000 if since_ms is None else since_ms
            person = Person(user=user, since_ms=since_ms, last=last)
            found = trace_user(session, person, as_json=as_json)
        else:
            found = trace_event(session, message_id or "", search, as_json=as_json)
    raise typer.Exit(0 if found else EXIT_FAILED)


@operate_app.command()
def replay(
    *,
    to_earliest: Annotated[
        bool, typer.Option("--to-earliest", help="Reset to the first record that still exists.")
    ] = False,
    to_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Reset to the first record published at this time or later."
        ),
    ] = None,
    to_offset: Annotated[
        int | None, typer.Option(min=0, help="Reset to this offset; requires one --partition.")
    ] = None,
    accept_ledger_loss: Annotated[
        bool,
        typer.Option(
            "--accept-ledger-loss",
            help="Keep the offsets, and let workers continue with a ledger that has lost records "
            "(ledger_behind). Events whose receipts are lost may take effect twice.",
        ),
    ] = False,
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Reset only this partition; may be repeated.")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Reset the group's offsets, so that events are read again.

    Events with a receipt do not take effect again; skipped events are evaluated again. Offsets only
    move back, except where records were deleted before they were read. No worker may run: the error
    names those that do. An offset from before the ledger's oldest receipts is refused.
    """
    from stream.operations.replay import Target  # noqa: PLC0415
    from stream.operations.replay import replay as set_back  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    if sum((to_earliest, to_time is not None, to_offset is not None, accept_ledger_loss)) != 1:
        raise typer.BadParameter(
            "give one of --to-earliest, --to-time, --to-offset and --accept-ledger-loss"
        )
    if to_offset is not None and len(partition or ()) != 1:
        raise typer.BadParameter("--to-offset requires one --partition")
    target = Target(
        time_ms=moment(to_time),
        offset=to_offset,
        partitions=partition or (),
        accept_ledger_loss=accept_ledger_loss,
    )
    with exit_on_error(), open_session() as session:
        set_back(session, target, yes=yes, as_json=as_json)


@operate_app.command()
def purge(
    *,
    user: Annotated[str, typer.Option(metavar="ID", help="External id or e-mail of the end user.")],
    delete_records: Annotated[
        bool,
        typer.Option(
            "--delete-records",
            help="Also delete their dead letters and parked events, unless open ones of others "
            "precede them.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase what can be erased of an end user, and show when the rest expires.

    Writes tombstones for the user's ledger entries, for which no worker may run. Records in the
    other topics expire with retention, or are deleted by --delete-records. Nothing changes at
    Wootric.
    """
    from stream.operations.purge import command  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    with exit_on_error(), open_session() as session:
        command(session, user, delete_records=delete_records, yes=yes, as_json=as_json)
