"""The commands about dead letters."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from stream.cli.options import AsJson, NoteText, Rate, Reasons, Since, Until, Yes, moment, read
from stream.operations.terminal import told

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
    from stream.operations.session import opened  # noqa: PLC0415

    wanted = _wanted(reason, since, until, partition)
    with told(), opened() as desk:
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
    from stream.operations.analysis.dead_letters import Place  # noqa: PLC0415
    from stream.operations.dlq_show import show_letter  # noqa: PLC0415
    from stream.operations.session import opened  # noqa: PLC0415

    found = read(Place.of, place)
    with told(), opened() as desk:
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
    from stream.operations.session import opened  # noqa: PLC0415

    wanted = _wanted(reason, since, until, partition)
    how = Replaying(limit=limit, rate=rate, force=force)
    with told(), opened() as desk:
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
    from stream.operations.session import opened  # noqa: PLC0415

    wanted = _wanted(reason, since, until, partition)
    with told(), opened() as desk:
        dismiss(desk, wanted, text=note, yes=yes, as_json=as_json)


def _wanted(
    reasons: list[str] | None, since: str | None, until: str | None, partition: int | None
) -> "Wanted":
    from stream.operations.analysis.dead_letters import Selection  # noqa: PLC0415
    from stream.operations.dlq import Wanted  # noqa: PLC0415

    selection = Selection(reasons=reasons or (), since_ms=moment(since), until_ms=moment(until))
    return Wanted(selection=selection, partition=partition)
