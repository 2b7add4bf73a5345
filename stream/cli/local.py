"""The commands that need no account and no cluster."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.help import group
from stream.cli.options import AsJson
from stream.operations.output import EXIT_FAILED, exit_on_error, print_message

local_app = group()


@local_app.command()
def demo(
    events: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of events to send.")
    ] = 20_000,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, metavar="N", help="Send for N seconds, instead of a number of events."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the generated events.")] = 1,
    webhooks: Annotated[
        bool, typer.Option("--bridge", help="Send the events to a bridge, as signed webhooks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run everything on this machine, and compare.

    $ wootric-stream demo
    $ wootric-stream demo --events 2000 --bridge

    Runs Kafka, Wootric's emulator and the service, without accounts. While events are delivered, a
    worker is killed with kill -9 and restarted. The final report compares the events with what the
    emulator holds. Exit 0 only if they agree.
    """
    from stream.devtools.demo import run_demo  # noqa: PLC0415  slow to import
    from stream.devtools.demo_report import print_document, print_report  # noqa: PLC0415

    show = print_document if as_json else print_report
    with exit_on_error(as_json=as_json):
        demo_run = run_demo(events=events, seconds=seconds, seed=seed, webhooks=webhooks, show=show)
        agrees = asyncio.run(demo_run)
    raise typer.Exit(0 if agrees else EXIT_FAILED)


@local_app.command()
def broker(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="PORT", help="Default: a free port.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="Data and logs. Default: a temporary folder."),
    ] = None,
    nodes: Annotated[
        int, typer.Option(min=1, max=9, metavar="N", help="Number of brokers: one, or three.")
    ] = 1,
) -> None:
    """Run Apache Kafka on this machine.

    $ wootric-stream broker --port 9092
    $ wootric-stream broker --nodes 3 --dir /var/tmp/kafka

    Runs in the foreground until Ctrl-C, and prints the bootstrap servers once they accept
    connections. Needs Java 17 and Maven.
    """
    from stream.devtools.local_kafka import run_foreground  # noqa: PLC0415

    with exit_on_error():
        run_foreground(port, directory, nodes, print_message)


@local_app.command()
def emulator(
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Port on loopback; 0 picks a free port."
        ),
    ] = 8091,
) -> None:
    """Run an emulator of Wootric on loopback.

    $ wootric-stream emulator
    $ wootric-stream emulator --port 0

    It has end users, responses, declines, the pixel, OAuth and rate limits. Its state, its journal
    and the faults to inject are under /_emulator/.
    """
    from stream.devtools.wootric_emulator import serve  # noqa: PLC0415
    from stream.runtime.worker import tune_memory  # noqa: PLC0415

    tune_memory()
    serve(port)
