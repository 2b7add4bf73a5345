"""The commands of an operator. What they need of Kafka is loaded when one of them runs."""

from typing import Annotated

import typer

from stream.cli.cli_dlq import dlq_app
from stream.cli.cli_in_doubt import in_doubt_app
from stream.cli.options import AsJson, Since, Yes, moment, read
from stream.operations.terminal import EXIT_FAILED, told

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
    from stream.operations.session import opened  # noqa: PLC0415

    with told(), opened() as desk:
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
    from stream.operations.analysis.dead_letters import Place  # noqa: PLC0415
    from stream.operations.session import now_ms, opened  # noqa: PLC0415
    from stream.operations.trace import Search, trace_event, trace_place  # noqa: PLC0415
    from stream.operations.trace_user import Person, trace_user  # noqa: PLC0415

    if sum(one is not None for one in (message_id, user, at)) != 1:
        raise typer.BadParameter("give a messageId, --user or --at")
    since_ms = moment(since)
    place = None if at is None else read(Place.of, at)
    with told(), opened() as desk:
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
    from stream.operations.session import opened  # noqa: PLC0415

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
    with told(), opened() as desk:
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
    from stream.operations.purge_report import command  # noqa: PLC0415
    from stream.operations.session import opened  # noqa: PLC0415

    with told(), opened() as desk:
        command(desk, user, delete_records=delete_records, yes=yes, as_json=as_json)
