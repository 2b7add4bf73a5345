"""The command line and its services. Data goes to stdout, messages to stderr; exit codes follow
sysexits.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from stream import __version__
from stream.cli.fix import fix_app
from stream.cli.help import Commands
from stream.cli.local import local_app
from stream.cli.look import look_app
from stream.cli.setup import setup_app
from stream.operations.output import (
    EXIT_FAILED,
    EXIT_TEMPORARY,
    exit_now,
    exit_on_error,
    flush_data,
    json_line,
    print_data,
    print_message,
)

if TYPE_CHECKING:
    from stream.settings_loader import BridgeOnly, Settings


S = TypeVar("S", "Settings", "BridgeOnly")

app = typer.Typer(
    name="wootric-stream",
    cls=Commands,
    epilog="`wootric-stream help COMMAND` explains a command, `wootric-stream settings` lists the "
    "environment variables with which all are configured.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for part in (setup_app, look_app, fix_app, local_app):
    app.add_typer(part)


def main() -> None:
    """Run the command line."""
    app(prog_name="wootric-stream")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _app(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Segment's Wootric destination on Kafka: exactly once, page views at most once.

    $ wootric-stream demo          # everything on this machine, without accounts
    $ wootric-stream doctor        # what is missing on yours
    $ wootric-stream topics create --yes
    $ wootric-stream run
    """


@app.command()
def run(
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be sent; send and commit nothing."),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="With --dry-run: stop after N records. Default: all."
        ),
    ] = None,
) -> None:
    """Deliver events from Kafka to Wootric.

    $ wootric-stream run
    $ wootric-stream run --dry-run --limit 100

    A worker joins the consumer group and serves metrics and health on HTTP__PORT. On SIGTERM it
    finishes the requests in flight, commits their outcomes, leaves the group and exits with 0.
    Exit 78: the settings or the topics are invalid. Exit 69 or 75: Kafka is unavailable or the
    producer cannot recover; restart the process.

    --dry-run reads the records between the committed offsets and the end of the topic without
    joining the group, and restores state from the ledger. stdout gets one JSON line per request
    that would be sent and per event that would be skipped, rejected or parked, in the order in
    which they would happen if all records were waiting already. stderr gets a summary. Requests
    that follow a look-up are shown as if it found no end user, and marked "only_if". Credentials
    and the account token are masked; personal data is not.
    """
    if dry_run:
        _dry_run(limit)
        return
    if limit is not None:
        raise typer.BadParameter("--limit requires --dry-run")
    from stream.runtime.worker import serve  # noqa: PLC0415  slow to import
    from stream.settings_loader import load  # noqa: PLC0415
    from stream.wootric import wootric_destination  # noqa: PLC0415

    _serve(load, lambda settings: serve(settings, wootric_destination(settings)))


def _serve(load: Callable[[], S], serve: Callable[[S], Coroutine[None, None, None]]) -> NoReturn:
    """Run a service with the settings that ``load`` returns, then end the process."""
    import structlog  # noqa: PLC0415
    import uvloop  # noqa: PLC0415

    from stream.runtime.worker import tune_memory  # noqa: PLC0415
    from stream.settings import LogFormat  # noqa: PLC0415
    from stream.telemetry.log import configure  # noqa: PLC0415

    code = 0
    configure(level="INFO", as_json=True, instance="")  # a traceback must show no variables
    try:
        with exit_on_error(unavailable=EXIT_TEMPORARY):
            settings = load()
            configure(
                level=settings.log.level,
                as_json=settings.log.format is LogFormat.JSON,
                instance=settings.kafka.instance_id,
            )
            tune_memory()
            with suppress(asyncio.CancelledError):  # SIGTERM before it started
                uvloop.run(serve(settings))
    except typer.Exit as end:
        code = end.exit_code
    except Exception as error:  # its message may hold personal data
        log = structlog.get_logger()
        log.exception("unhandled_error", error=type(error).__name__)
        code = EXIT_FAILED
    exit_now(code)


def _dry_run(limit: int | None) -> None:
    from stream.operations.audit import personal_data_shown  # noqa: PLC0415
    from stream.operations.dry_run import dry_run  # noqa: PLC0415
    from stream.settings_loader import load  # noqa: PLC0415
    from stream.telemetry.log import configure  # noqa: PLC0415

    def write(line: dict[str, object]) -> None:
        if not print_data(json_line(line), flush=False):
            raise typer.Exit

    with exit_on_error():
        settings = load()
        configure(level="WARNING", as_json=False, instance=settings.kafka.instance_id)
        personal_data_shown("run --dry-run", records=limit)
        summary = dry_run(settings, limit=limit, write=write)
        flush_data()
    for line in summary.lines():
        print_message(line)


@app.command()
def bridge(
    from_topic: Annotated[
        str,
        typer.Option(
            metavar="TOPIC",
            help="Read events from this topic of Segment's Kafka destination instead of webhooks.",
        ),
    ] = "",
) -> None:
    """Write Segment's webhooks to the input topic.

    $ wootric-stream bridge
    $ wootric-stream bridge --from-topic segment.json

    Serves POST /v1/events on BRIDGE__PORT. Replies 200 once Kafka has stored every event of the
    request, and 503 if Segment should retry. With --from-topic the events come from a topic of
    JSON, and each is copied exactly once. On SIGTERM it finishes the accepted requests and exits
    with 0. Exit 78: the settings, the topics or the schema are invalid. Exit 69 or 75: Kafka, the
    schema registry or a port is unavailable; restart the process.
    """
    from stream.bridge.service import serve_topic, serve_webhook  # noqa: PLC0415
    from stream.settings_loader import load_bridge, load_webhook  # noqa: PLC0415

    if from_topic:
        _serve(load_bridge, partial(serve_topic, source=from_topic))
    _serve(load_webhook, serve_webhook)


@app.command("lag-exporter")
def lag_exporter(
    every: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Time between measurements.")
    ] = 10.0,
) -> None:
    """Export the group's lag as metrics.

    $ wootric-stream lag-exporter
    $ wootric-stream lag-exporter --every 30

    It measures whether or not a worker runs. Serves /metrics (wootric_group_…), /livez and
    /readyz on HTTP__PORT. One exporter per group is enough. It does not join the group, and
    needs none of Wootric's settings.
    """
    from stream.runtime.worker import kafka_config, until_signal  # noqa: PLC0415
    from stream.settings import LogFormat  # noqa: PLC0415
    from stream.settings_loader import load_exporter  # noqa: PLC0415
    from stream.telemetry.lag_exporter import LagExporter  # noqa: PLC0415
    from stream.telemetry.log import configure  # noqa: PLC0415

    code = 0
    try:
        with exit_on_error():
            settings = load_exporter()
            kafka, http = settings.kafka, settings.http
            as_json = settings.log.format is LogFormat.JSON
            configure(level=settings.log.level, as_json=as_json, instance="lag-exporter")
            exporter = LagExporter(kafka_config(kafka, long_lived=True), every_s=every)
            asyncio.run(until_signal(exporter.run(http)))
    except typer.Exit as end:
        code = end.exit_code
    exit_now(code)
