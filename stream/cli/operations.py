"""The commands of an operator. What they need of Kafka is loaded when one of them runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from stream.operations.analysis.time_text import parse_time
from stream.operations.output import EXIT_FAILED, told

# Options that several commands share, and how their values are read


AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of tables.")
]
Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", help="Do it. Without this, only what would be done is shown.")
]
Reasons: TypeAlias = Annotated[
    list[str] | None, typer.Option("--reason", help="Of this reason; may be given again.")
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From then on: 2026-03-02T08:00:00Z, 15m, 2h, 3d."),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="Until then, in the same forms.")
]
Rate: TypeAlias = Annotated[
    float | None, typer.Option(min=0.1, help="Send at most so many a second; default: all at once.")
]
NoteText: TypeAlias = Annotated[
    str, typer.Option("--note", help="Why, for who looks later; nothing of a person.")
]

T = TypeVar("T")


def read(reading: Callable[[str], T], text: str) -> T:
    """Return what a text says; a text that says nothing is a usage error."""
    try:
        return reading(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str | None) -> int | None:
    """Return a moment in milliseconds since 1970, None without one."""
    now_ms = time.time_ns() // 1_000_000
    return None if text is None else read(lambda given: parse_time(given, now_ms), text)


# The commands about dead letters


if TYPE_CHECKING:
    from stream.operations.dlq import Wanted

dlq_app = typer.Typer(
    help="Dead letters: what was refused, why, and back into the input after a fix.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Partition: TypeAlias = Annotated[
    int | None, typer.Option(min=0, help="Of this partition of the dead-letter topic.")
]


@dlq_app.command("list")
def dlq_list(
    *,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    limit: Annotated[int, typer.Option(min=0, help="How many letters to show.")] = 20,
    outcomes: Annotated[
        bool, typer.Option("--outcomes", help="Say how replays ended; reads the whole ledger.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by reason, and show the newest.

    A letter is open until it was replayed or dismissed.
    """
    from stream.operations.dlq import list_letters  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    wanted = _wanted(reason, since, until, partition)
    with told(), open_session() as desk:
        list_letters(desk, wanted, limit=limit, outcomes=outcomes, as_json=as_json)


@dlq_app.command("show")
def dlq_show(
    place: Annotated[str, typer.Argument(metavar="PARTITION-OFFSET", help="As in `dlq list`.")],
    *,
    raw: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the record's very bytes there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: its headers, its event, and what a replay would come to now.

    The event is a person's data, and is shown as it is.
    """
    from stream.operations.analysis.dead_letters import RecordPosition  # noqa: PLC0415
    from stream.operations.dlq import show_letter  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    found = read(RecordPosition.of, place)
    with told(), open_session() as desk:
        show_letter(desk, found, raw=raw, as_json=as_json)


@dlq_app.command("replay")
def dlq_replay(
    *,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many of them.")] = None,
    rate: Rate = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Let identifies win over what is newer; reads the ledger."),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back into the input, with the same key and bytes.

    They go through the ledger: a letter has one effect however often it is sent, and one that
    is refused again becomes a new letter. An identify that is older than what is known of its
    user is skipped as stale, unless --force. May be stopped and run again at any moment.
    """
    from stream.operations.dlq import Replaying, replay  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    wanted = _wanted(reason, since, until, partition)
    how = Replaying(limit=limit, rate=rate, force=force)
    with told(), open_session() as desk:
        replay(desk, wanted, how, yes=yes, as_json=as_json)


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
    """Note that nothing is to be done about dead letters: they are open no longer.

    The note is a record of the dead-letter topic; the letters stay until retention.
    """
    from stream.operations.dlq import dismiss  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    wanted = _wanted(reason, since, until, partition)
    with told(), open_session() as desk:
        dismiss(desk, wanted, text=note, yes=yes, as_json=as_json)


def _wanted(
    reasons: list[str] | None, since: str | None, until: str | None, partition: int | None
) -> "Wanted":
    from stream.operations.analysis.dead_letters import LetterFilter  # noqa: PLC0415
    from stream.operations.dlq import Wanted  # noqa: PLC0415

    selection = LetterFilter(reasons=reasons or (), since_ms=moment(since), until_ms=moment(until))
    return Wanted(selection=selection, partition=partition)


# The commands about what is in doubt


in_doubt_app = typer.Typer(
    help="Requests that may or may not have been executed, and parked events to decide about.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@in_doubt_app.command("list")
def in_doubt_list(
    *,
    parked: Annotated[
        bool, typer.Option("--parked", help="Parked events that wait for a person instead.")
    ] = False,
    decided: Annotated[
        bool, typer.Option("--decided", help="With --parked: those that are decided, too.")
    ] = False,
    show_personal: Annotated[
        bool, typer.Option("--show-personal", help="Show lanes as they are: ids and e-mails.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List open requests by lane, or parked events.

    A request is open from its intent to its outcome, most of them for milliseconds. What is
    old is in doubt: its worker died, or no answer came. Workers resolve these by themselves;
    what cannot be found out is parked, and yours to decide.
    """
    from stream.operations.in_doubt import list_open, list_parked  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    if decided and not parked:
        raise typer.BadParameter("--decided goes with --parked")
    with told(), open_session() as desk:
        if parked:
            list_parked(desk, everything=decided, as_json=as_json)
        else:
            list_open(desk, show_personal=show_personal, as_json=as_json)


@in_doubt_app.command("resolve")
def in_doubt_resolve(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PARTITION-OFFSET]...", help="As in `in-doubt list --parked`."),
    ] = None,
    *,
    decision: Annotated[
        str, typer.Option("--as", metavar="resend|dismiss", help="What to do about them.")
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="All that wait for a decision, instead of places.")
    ] = False,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    rate: Rate = None,
    note: NoteText = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Decide about parked events: resend them, or dismiss them.

    resend sends them through the input and its ledger, once however often this is run: their
    effect may then be there twice, as nobody knows whether it was there before. dismiss notes
    in the parked topic that nothing is to be done.
    """
    from stream.operations.analysis.dead_letters import LetterFilter, RecordPosition  # noqa: PLC0415
    from stream.operations.in_doubt import Decision, ResolveRequest, resolve  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    chosen = {read(RecordPosition.of, text) for text in places or ()}
    if bool(chosen) == everything:
        raise typer.BadParameter("name places, or give --all")
    wish = ResolveRequest(
        decision=read(Decision, decision),
        selection=LetterFilter(
            reasons=reason or (), since_ms=moment(since), until_ms=moment(until), places=chosen
        ),
        places=chosen,
        text=note,
        rate=rate,
    )
    with told(), open_session() as desk:
        resolve(desk, wish, yes=yes, as_json=as_json)


operate_app = typer.Typer(rich_markup_mode=None)
operate_app.add_typer(dlq_app, name="dlq")
operate_app.add_typer(in_doubt_app, name="in-doubt")


@operate_app.command()
def verify(
    *,
    limit: Annotated[int, typer.Option(min=0, help="How many events to name.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Compare input, ledger, dead letters, parked and offsets: is anything lost, or there twice?

    Judged is what lies before the group's committed offsets, so that workers may run
    meanwhile. missing: no receipt. duplicate: settled twice. unsettled: its request is open
    though the offset has passed it. torn: a receipt without its letter, or the reverse. What
    the transform skips has no receipt and is judged again, with this environment's
    WOOTRIC__DELETE_USERS. Exit 0 only if all agrees.
    """
    from stream.operations import verify as audit  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    with told(), open_session() as desk:
        agrees = audit.command(desk, limit=limit, as_json=as_json)
    raise typer.Exit(0 if agrees else EXIT_FAILED)


@operate_app.command()
def trace(
    message_id: Annotated[str | None, typer.Argument(help="Segment's messageId.")] = None,
    *,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="An end user instead: external id or e-mail.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="PARTITION-OFFSET", help="A record of the input instead.")
    ] = None,
    since: Since = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="Search all of the input, duplicates included.")
    ] = False,
    last: Annotated[int, typer.Option(min=1, help="With --user: how many events.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Say where an event is and why, or what is known of an end user.

    Looked at are ledger, dead letters, parked events and open requests, and of the input what
    these name and what is not settled; all of it where they name nothing. With --user the
    input is searched for the last 24 hours, or --since. E-mails are masked. Exit 1: not found.
    """
    from stream.operations.analysis.dead_letters import RecordPosition  # noqa: PLC0415
    from stream.operations.session import now_ms, open_session  # noqa: PLC0415
    from stream.operations.trace import Person, Search, trace_event, trace_place, trace_user  # noqa: PLC0415

    if sum(one is not None for one in (message_id, user, at)) != 1:
        raise typer.BadParameter("give a messageId, --user or --at")
    since_ms = moment(since)
    place = None if at is None else read(RecordPosition.of, at)
    with told(), open_session() as desk:
        if place is not None:
            found = trace_place(desk, place, as_json=as_json)
        elif user is not None:
            day_ms = 86_400_000
            since_ms = now_ms() - day_ms if since_ms is None else since_ms
            found = trace_user(
                desk, Person(user=user, since_ms=since_ms, last=last), as_json=as_json
            )
        else:
            search = Search(since_ms=since_ms, everywhere=everywhere)
            found = trace_event(desk, message_id or "", search, as_json=as_json)
    raise typer.Exit(0 if found else EXIT_FAILED)


@operate_app.command()
def replay(
    *,
    to_earliest: Annotated[
        bool, typer.Option("--to-earliest", help="To the first record that is still there.")
    ] = False,
    to_time: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="To what was published then: an ISO time, 2h."),
    ] = None,
    to_offset: Annotated[
        int | None, typer.Option(min=0, help="To this offset, of one --partition.")
    ] = None,
    accept_ledger_loss: Annotated[
        bool,
        typer.Option(
            "--accept-ledger-loss",
            help="Instead: leave the offsets, and let workers go on with a ledger that has lost "
            "records (ledger_behind). What these stood for may have a second effect.",
        ),
    ] = False,
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this one; may be given again.")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Set the group's offsets back, so that events are read again.

    What the ledger knows has no second effect; what was skipped is judged again. Offsets only
    go back, but where records were deleted before they were read. No worker may run: the
    message says which do. Refused is what the ledger does not reach back to.
    """
    from stream.operations.replay import Target  # noqa: PLC0415
    from stream.operations.replay import replay as set_back  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    if sum((to_earliest, to_time is not None, to_offset is not None, accept_ledger_loss)) != 1:
        raise typer.BadParameter(
            "give one of --to-earliest, --to-time, --to-offset and --accept-ledger-loss"
        )
    if to_offset is not None and len(partition or ()) != 1:
        raise typer.BadParameter("--to-offset goes with one --partition")
    target = Target(
        time_ms=moment(to_time),
        offset=to_offset,
        partitions=partition or (),
        accept_ledger_loss=accept_ledger_loss,
    )
    with told(), open_session() as desk:
        set_back(desk, target, yes=yes, as_json=as_json)


@operate_app.command()
def purge(
    *,
    user: Annotated[str, typer.Option(metavar="ID", help="External id or e-mail.")],
    delete_records: Annotated[
        bool,
        typer.Option(
            "--delete-records",
            help="Delete dead letters and parked events too, where nothing of others before them "
            "is of use any more.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase what can be erased of an end user, and say when the rest is gone.

    The ledger's entries of theirs get tombstones, for which no worker may run. Records of the
    other topics go with retention, or with --delete-records. Wootric itself is not touched.
    """
    from stream.operations.purge import command  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    with told(), open_session() as desk:
        command(desk, user, delete_records=delete_records, yes=yes, as_json=as_json)
