"""The commands that change what happens: pause, resume, dlq, in-doubt, offsets, erase."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from stream.cli.help import group
from stream.cli.options import AsJson, NoteText, Rate, Reasons, Since, Until, Yes, moment, read
from stream.operations.output import exit_on_error, open_input, parts

if TYPE_CHECKING:
    from stream.operations.dlq import DeadLetterQuery

fix_app = group()


# The input


Partitions: TypeAlias = Annotated[
    list[int] | None,
    typer.Option("--partition", min=0, metavar="N", help="Only this partition; may be repeated."),
]


@fix_app.command()
def pause(*, partition: Partitions = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Hold the input while workers run.

    $ wootric-stream pause
    $ wootric-stream pause --partition 0 --partition 3 --yes

    Within seconds, workers finish and commit the requests in flight. They send nothing new and read
    nothing further, also after restarts and upgrades, until `resume`. The lag grows, and retention
    still deletes records of the input. A pause ends after the brokers' offsets.retention.minutes, a
    week by default; pausing again renews it.
    """
    from stream.operations import pause as operation  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    with exit_on_error(as_json=as_json), open_session() as session:
        operation.pause(session, partition or (), yes=yes, as_json=as_json)


@fix_app.command()
def resume(*, partition: Partitions = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """End a pause of the input.

    $ wootric-stream resume
    $ wootric-stream resume --partition 0 --yes

    Workers continue where they stopped, in order. `run --dry-run` shows before what becomes of the
    events that wait.
    """
    from stream.operations import pause as operation  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    with exit_on_error(as_json=as_json), open_session() as session:
        operation.resume(session, partition or (), yes=yes, as_json=as_json)


# Dead letters


dlq_app = group("Fix and replay dead letters: rejected events.")
fix_app.add_typer(dlq_app, name="dlq")
Partition: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Select only this partition of the dead-letter topic."),
]


@dlq_app.command("list")
def dlq_list(
    *,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    limit: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of dead letters to show.")
    ] = 20,
    outcomes: Annotated[
        bool, typer.Option("--outcomes", help="Show how replays ended; reads the whole ledger.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by reason.

    $ wootric-stream dlq list
    $ wootric-stream dlq list --reason invalid_score --since 2d --limit 100

    Shows the newest of them too. A dead letter is open until it is replayed or dismissed.
    """
    from stream.operations.dlq import list_letters  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    query = _query(reason, since, until, partition)
    with exit_on_error(as_json=as_json), open_session() as session:
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
    """Show one dead letter.

    $ wootric-stream dlq show 0-17
    $ wootric-stream dlq show 0-17 --raw event.bin

    Its headers, its event, and how a replay would end now. The event is personal data, and is not
    masked.
    """
    from stream.operations.analysis.dead_letters import RecordPosition  # noqa: PLC0415
    from stream.operations.dlq import show_letter  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    found = read(RecordPosition.of, place)
    with exit_on_error(as_json=as_json), open_session() as session:
        show_letter(session, found, raw=raw, as_json=as_json)


@dlq_app.command("replay")
def dlq_replay(
    *,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Replay at most N. Default: all.")
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
    """Send dead letters to the input again.

    $ wootric-stream dlq replay --reason invalid_score
    $ wootric-stream dlq replay --reason invalid_score --rate 10 --yes

    They keep their key and bytes. The ledger removes duplicates: a dead letter takes effect
    once, even if it is sent repeatedly. One that is rejected again becomes a new dead letter.
    An identify that is older than the known state of its user is skipped as stale, unless
    --force is given. The command may be stopped and repeated at any time.
    """
    from stream.operations.dlq import ReplayOptions, replay  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    query = _query(reason, since, until, partition)
    options = ReplayOptions(limit=limit, rate=rate, force=force)
    with exit_on_error(as_json=as_json), open_session() as session:
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

    $ wootric-stream dlq dismiss --reason invalid_json --note "test traffic" --yes

    The decision is a record in the dead-letter topic. The dead letters stay until retention
    removes them.
    """
    from stream.operations.dlq import dismiss  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    query = _query(reason, since, until, partition)
    with exit_on_error(as_json=as_json), open_session() as session:
        dismiss(session, query, text=note, yes=yes, as_json=as_json)


def _query(
    reasons: list[str] | None, since: str | None, until: str | None, partition: int | None
) -> "DeadLetterQuery":
    from stream.operations.analysis.dead_letters import LetterFilter  # noqa: PLC0415
    from stream.operations.dlq import DeadLetterQuery  # noqa: PLC0415

    selection = LetterFilter(reasons=reasons or (), since_ms=moment(since), until_ms=moment(until))
    return DeadLetterQuery(selection=selection, partition=partition)


# Requests in doubt and parked events


in_doubt_app = group("Decide about events of unknown outcome.")
fix_app.add_typer(in_doubt_app, name="in-doubt")


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
    """List open requests, or parked events.

    $ wootric-stream in-doubt list
    $ wootric-stream in-doubt list --parked

    A request is open from its intent to its outcome, usually for milliseconds. An older one is in
    doubt: its worker died, or no reply came. Workers resolve requests in doubt by themselves. If
    the outcome cannot be determined, they park the events for you to decide.
    """
    from stream.operations.in_doubt import list_open, list_parked  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    if decided and not parked:
        raise typer.BadParameter("--decided requires --parked")
    with exit_on_error(as_json=as_json), open_session() as session:
        if parked:
            list_parked(session, everything=decided, as_json=as_json)
        else:
            list_open(session, show_personal=show_personal, as_json=as_json)


@in_doubt_app.command("resolve")
def in_doubt_resolve(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PARTITION-OFFSET", help="Their places in `in-doubt list --parked`."
        ),
    ] = None,
    *,
    decision: Annotated[
        Literal["resend", "dismiss"],
        typer.Option("--as", help="Send the events again, or close them."),
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

    $ wootric-stream in-doubt resolve 0-4 0-7 --as resend --yes
    $ wootric-stream in-doubt resolve --all --as dismiss --note "old page views" --yes

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
        decision=Decision(decision),
        selection=LetterFilter(
            reasons=reason or (), since_ms=moment(since), until_ms=moment(until), places=chosen
        ),
        places=chosen,
        text=note,
        rate=rate,
    )
    with exit_on_error(as_json=as_json), open_session() as session:
        resolve(session, request, yes=yes, as_json=as_json)


# Offsets


offsets_app = group("Let the group read events again.")
fix_app.add_typer(offsets_app, name="offsets")


@offsets_app.command("reset")
def offsets_reset(
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
        int | None,
        typer.Option(min=0, metavar="N", help="Reset to this offset; requires one --partition."),
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
        list[int] | None,
        typer.Option(min=0, metavar="N", help="Reset only this partition; may be repeated."),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Reset the offsets of the group.

    $ wootric-stream offsets reset --to-time 2026-03-02T00:00:00Z
    $ wootric-stream offsets reset --to-earliest --partition 3 --yes

    Events are then read again. Those with a receipt do not take effect again; skipped ones are
    evaluated again. Offsets only move back, except where records were deleted before they were
    read. No worker may run: the error names those that do. An offset from before the ledger's
    oldest receipts is refused.
    """
    from stream.operations.offsets import Target, reset  # noqa: PLC0415
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
    with exit_on_error(as_json=as_json), open_session() as session:
        reset(session, target, yes=yes, as_json=as_json)


# A person's data


@fix_app.command()
def erase(
    *,
    user: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="External id, e-mail or phone number; may be repeated."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Such ids, one per line; - for stdin."),
    ] = None,
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
    """Erase persons' data.

    $ wootric-stream erase --user nina@example.com
    $ wootric-stream erase --file requests-of-march.txt --delete-records --yes

    Writes tombstones for the persons' ledger entries, under all of their identifiers, in one
    transaction. Records in the other topics expire with retention, or are deleted by
    --delete-records. Nothing changes at Wootric. The output names the numbers of ids that are in no
    record. The command may be stopped and repeated at any time.

    No worker may run: a worker holds copies of the entries of its partitions, and would write one
    back with the next event. A file of ids needs one stop for all of them.
    """
    from stream.operations.erase import command, numbered  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    if bool(user) == (file is not None):
        raise typer.BadParameter("give --user or --file")
    with exit_on_error(as_json=as_json):
        if file is not None:
            with open_input(file) as source:
                persons = numbered(parts(source))
        else:
            persons = numbered(name.encode() for name in user or ())
        with open_session() as session:
            command(session, persons, delete_records=delete_records, yes=yes, as_json=as_json)
