"""The commands that only look: status, trace, verify."""

from typing import Annotated

import typer

from stream.cli.help import group
from stream.cli.options import AsJson, Since, moment, read
from stream.operations.output import EXIT_FAILED, exit_now, exit_on_error

look_app = group()


@look_app.command()
def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Repeat every second until Ctrl-C.")
    ] = False,
    url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="A worker's URL; may be repeated. Default: http://127.0.0.1:HTTP__PORT.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show lag, rates, and the state of workers.

    $ wootric-stream status
    $ wootric-stream status --watch --url http://wootric-0:8080 --url http://wootric-1:8080

    Reads the group's offsets, which needs no running worker, and /status of the workers at --url.
    Measures twice, one second apart, to compute the rates. --watch --json prints one line per
    measurement.
    """
    from stream.operations.status import Workers, overview, watch_status  # noqa: PLC0415
    from stream.runtime.worker import kafka_config  # noqa: PLC0415
    from stream.settings_loader import load_exporter  # noqa: PLC0415

    code = 0
    try:
        with exit_on_error(as_json=as_json):
            settings = load_exporter()
            own_url = f"http://127.0.0.1:{settings.http.port}"
            config = kafka_config(settings.kafka)
            workers = Workers(url or [own_url], guessed=not url, http=settings.http)
            measurements = overview(config, workers)
            watch_status(measurements, watch=watch, as_json=as_json)
    except typer.Exit as end:
        code = end.exit_code
    exit_now(code)


@look_app.command()
def trace(
    message_id: Annotated[
        str | None, typer.Argument(metavar="MESSAGE_ID", help="Segment's messageId of the event.")
    ] = None,
    *,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="Show an end user: external id, e-mail, phone.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="PARTITION-OFFSET", help="Show a record of the input.")
    ] = None,
    since: Since = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="Search the whole input, including duplicates.")
    ] = False,
    last: Annotated[
        int, typer.Option(min=1, metavar="N", help="With --user: number of events to show.")
    ] = 10,
    wootric: Annotated[
        bool, typer.Option("--wootric", help="Ask Wootric for the id of a survey without one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where an event is, and why.

    $ wootric-stream trace 9f1c2e
    $ wootric-stream trace --user nina@example.com --since 2d
    $ wootric-stream trace --at 3-20417

    Or what is known about an end user, by --user, or about a record of the input, by --at.
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
    with exit_on_error(as_json=as_json), open_session() as session:
        if place is not None:
            found = trace_place(session, place, search, as_json=as_json)
        elif user is not None:
            since_ms = now_ms() - 86_400_000 if since_ms is None else since_ms
            person = Person(user=user, since_ms=since_ms, last=last)
            found = trace_user(session, person, as_json=as_json)
        else:
            found = trace_event(session, message_id or "", search, as_json=as_json)
    raise typer.Exit(0 if found else EXIT_FAILED)


@look_app.command()
def verify(
    *,
    limit: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of discrepancies to list.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Look for lost and repeated events.

    $ wootric-stream verify
    $ wootric-stream verify --json --limit 100

    Compares input, ledger, dead letters, parked events and committed offsets. Only events before
    the group's committed offsets count, so workers may run meanwhile. missing: no receipt.
    duplicate: settled twice. unsettled: its request is open although the offset has passed it.
    torn: a receipt without its dead letter or parked event, or the reverse.
    Events that the transform skips have no receipt; they are evaluated again with this
    environment's WOOTRIC__DELETE_USERS. Exit 0 only if everything agrees.
    """
    from stream.operations import verify as audit  # noqa: PLC0415
    from stream.operations.session import open_session  # noqa: PLC0415

    with exit_on_error(as_json=as_json), open_session() as session:
        agrees = audit.command(session, limit=limit, as_json=as_json)
    raise typer.Exit(0 if agrees else EXIT_FAILED)
