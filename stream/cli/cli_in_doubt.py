"""The commands about what is in doubt."""

from typing import Annotated

import typer

from stream.cli.options import AsJson, NoteText, Rate, Reasons, Since, Until, Yes, moment, read
from stream.operations.terminal import told

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
    from stream.operations.session import opened  # noqa: PLC0415

    if decided and not parked:
        raise typer.BadParameter("--decided goes with --parked")
    with told(), opened() as desk:
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
    from stream.operations.analysis.dead_letters import Place, Selection  # noqa: PLC0415
    from stream.operations.in_doubt import Decision, Wish, resolve  # noqa: PLC0415
    from stream.operations.session import opened  # noqa: PLC0415

    chosen = {read(Place.of, text) for text in places or ()}
    if bool(chosen) == everything:
        raise typer.BadParameter("name places, or give --all")
    wish = Wish(
        decision=read(Decision, decision),
        selection=Selection(
            reasons=reason or (), since_ms=moment(since), until_ms=moment(until), places=chosen
        ),
        places=chosen,
        text=note,
        rate=rate,
    )
    with told(), opened() as desk:
        resolve(desk, wish, yes=yes, as_json=as_json)
