"""The commands. Data goes to stdout, messages to stderr; exit codes follow sysexits."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias, TypeVar

import typer

from stream import __version__
from stream.cli.operations import AsJson, operate_app
from stream.cli.topics import topics_app
from stream.operations.output import (
    EXIT_FAILED,
    exit_now,
    exit_on_error,
    fail,
    flush_data,
    json_line,
    open_input,
    parts,
    print_data,
    print_message,
)

if TYPE_CHECKING:
    from stream.settings_loader import BridgeOnly, Settings


S = TypeVar("S", "Settings", "BridgeOnly")

app = typer.Typer(
    name="wootric-stream",
    help="Segment's Wootric destination on Kafka: exactly once, page views at most once.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(topics_app, name="topics")
app.add_typer(operate_app)


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

    Settings are environment variables (KAFKA__…, WOOTRIC__…, BRIDGE__…, SCHEMA_REGISTRY__…,
    HTTP__…, LOG__…); docs/reference/settings.md lists them. `wootric-stream demo` runs everything
    on one machine, without accounts.
    """


@app.command()
def run(
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be sent; send and commit nothing."),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="With --dry-run: stop after this many records. Default: all."),
    ] = None,
) -> None:
    """Run a worker: consume Segment events from Kafka and deliver them to Wootric.

    The worker joins the consumer group and serves metrics and health on HTTP__PORT. On SIGTERM it
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
        with exit_on_error():
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
    from stream.operations.dry_run import dry_run  # noqa: PLC0415
    from stream.settings_loader import load  # noqa: PLC0415
    from stream.telemetry.log import configure  # noqa: PLC0415

    def write(line: dict[str, object]) -> None:
        if not print_data(json_line(line), flush=False):
            raise typer.Exit

    with exit_on_error():
        settings = load()
        configure(level="WARNING", as_json=False, instance=settings.kafka.instance_id)
        summary = dry_run(settings, limit=limit, write=write)
        flush_data()
    for line in summary.lines():
        print_message(line)


@app.command()
def bridge(
    from_topic: Annotated[
        str,
        typer.Option(
            help="Read events from this topic of Segment's Kafka destination instead of webhooks."
        ),
    ] = "",
) -> None:
    """Receive Segment's signed webhooks and write their events to the input topic.

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


EventsFile: TypeAlias = Annotated[
    Path,
    typer.Argument(
        help="File of Segment events: one JSON object per line, objects over several lines, or "
        "arrays of objects; - for stdin."
    ),
]


@app.command()
def publish(file: EventsFile, *, as_json: AsJson = False) -> None:
    """Publish Segment JSON events to the input topic, Avro-encoded, keyed by user.

    The key is userId, else anonymousId, else messageId. Prints the number of published events.
    Exit 1 if something is not JSON; the message contains the line. Nothing of a file is published
    then. Of stdin, which cannot be read twice, everything else is published.
    """
    from stream.kafka import producer  # noqa: PLC0415  slow to import
    from stream.runtime.worker import kafka_config  # noqa: PLC0415
    from stream.schema_registry.setup import header_for  # noqa: PLC0415
    from stream.settings_loader import load_kafka, load_registry  # noqa: PLC0415

    with exit_on_error(), open_input(file) as source:
        config = kafka_config(load_kafka())
        report = producer.PublishResult()
        if twice := source is not sys.stdin.buffer and source.seekable():
            report = producer.check(parts(source), on_progress=print_message)
            source.seek(0)
        if not report.broken.count:
            header = asyncio.run(header_for(load_registry(), config.topic))
            report = producer.publish(
                config, parts(source), header=header, on_progress=print_message
            )
    broken = report.broken
    found = {
        "published": report.published,
        "broken": broken.count,
        "first_broken": broken.first,
    }
    print_data(json_line(found) if as_json else str(report.published))
    if broken.count:
        others = "nothing was published" if twice else "everything else was published"
        fail(f"{broken}; {others}", EXIT_FAILED)


@app.command()
def transform(
    file: EventsFile = Path("-"),
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show where each field comes from, or why it is absent."),
    ] = False,
) -> None:
    """Show how Segment events would be processed, without Kafka and without sending anything.

    Prints one JSON line per event: message_id, outcome (deliver, skip, reject), reason, operation,
    and the request if it needs no look-up. --explain adds the source path and the conversion of
    each field, and what was left out and why. WOOTRIC__ACCOUNT_TOKEN, WOOTRIC__PIXEL_URL,
    WOOTRIC__AMOUNT_SUFFIX and WOOTRIC__DELETE_USERS apply if set. Exit 1 if something is not JSON;
    the message contains the line.
    """
    from stream.codec.json_text import BrokenValues  # noqa: PLC0415  slow to import
    from stream.operations.dry_run import preview_lines  # noqa: PLC0415

    broken = BrokenValues()
    with exit_on_error(), open_input(file) as source:
        for line in preview_lines(parts(source), explained=explain, on_broken=broken.add):
            if not print_data(line, flush=False):
                break
        flush_data()
    if broken.count:
        fail(str(broken), EXIT_FAILED)


@app.command()
def emulator(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on loopback; 0 picks a free port.")
    ] = 8091,
) -> None:
    """Run an emulator of Wootric on loopback.

    It has end users, responses, declines, the pixel, OAuth and rate limits. Its state, its journal
    and the faults to inject are under /_emulator/.
    """
    from stream.devtools.wootric_emulator import serve  # noqa: PLC0415
    from stream.runtime.worker import tune_memory  # noqa: PLC0415

    tune_memory()
    serve(port)


@app.command()
def broker(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port. Default: a free port.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Data and logs. Default: a temporary folder.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=9, help="Number of brokers: one, or three.")] = 1,
) -> None:
    """Run Apache Kafka on this machine, in the foreground.

    Prints the bootstrap servers once they accept connections. Needs Java 17 and Maven.
    """
    from stream.devtools.local_kafka import run_foreground  # noqa: PLC0415

    with exit_on_error():
        run_foreground(port, directory, nodes, print_message)


@app.command()
def doctor(
    *,
    of_bridge: Annotated[
        bool, typer.Option("--bridge", help="Check what the bridge needs, not what a worker needs.")
    ] = False,
    tolerant: Annotated[
        bool,
        typer.Option(
            "--tolerate-outages",
            help="Only warn if Wootric or the schema registry is unavailable: the service waits "
            "for them. A refusal by them still fails.",
        ),
    ] = False,
    probe_account: Annotated[
        bool,
        typer.Option(
            "--probe-account",
            help="Instead of the checks: create a test person and three responses at Wootric, "
            "compare Wootric's behaviour with what this service assumes, and delete the person. "
            "Needs only the WOOTRIC__ settings.",
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="With --probe-account: execute. Without this, only show what would be done.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check settings, network, permissions and credentials; print a fix for each failure.

    Checks settings, host names, certificates, login, permissions, topics, limits, transactions, the
    group, the schema registry and its schemas, Wootric's token, a look-up at Wootric and the clock.
    The checks write nothing. Exits with the code of the first failure: 69 unavailable, 77
    permission, 78 configuration.

    --probe-account prints a table of questions, assumptions and observations for the maintainers,
    without personal data or secrets. Exit 1 if the test person cannot be created or deleted; the
    message then contains the names and ids.
    """
    if yes and not probe_account:
        raise typer.BadParameter("--yes requires --probe-account")
    if probe_account:
        if of_bridge or tolerant:
            raise typer.BadParameter("--probe-account excludes --bridge and --tolerate-outages")
        from stream.doctor.probe_command import command  # noqa: PLC0415

        with exit_on_error():
            command(yes=yes, as_json=as_json)
        return
    from stream.doctor import run_bridge_checks, run_checks  # noqa: PLC0415
    from stream.doctor.result import format_line, to_json  # noqa: PLC0415

    found = []
    checks = run_bridge_checks if of_bridge else run_checks
    for one in checks(tolerant=tolerant):
        found.append(one)
        if not as_json:
            print_data(format_line(one))
    if as_json:
        print_data(to_json(found))
    exit_now(next((one.exit_code for one in found if one.exit_code), 0))


@app.command()
def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Repeat every second until Ctrl-C.")
    ] = False,
    url: Annotated[
        list[str] | None,
        typer.Option(help="A worker's URL; may be repeated. Default: http://127.0.0.1:HTTP__PORT."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per measurement.")
    ] = False,
) -> None:
    """Show lag, rates, events in doubt and dead letters of the group, and the status of workers.

    Reads the group's offsets, which needs no running worker, and /status of the workers at --url.
    Measures twice, one second apart, to compute the rates.
    """
    from stream.operations.status import Workers, overview, watch_status  # noqa: PLC0415
    from stream.runtime.worker import kafka_config  # noqa: PLC0415
    from stream.settings_loader import load_exporter  # noqa: PLC0415

    code = 0
    try:
        with exit_on_error():
            settings = load_exporter()
            own_url = f"http://127.0.0.1:{settings.http.port}"
            config = kafka_config(settings.kafka)
            workers = Workers(url or [own_url], guessed=not url, http=settings.http)
            measurements = overview(config, workers)
            watch_status(measurements, watch=watch, as_json=as_json)
    except typer.Exit as end:
        code = end.exit_code
    exit_now(code)


@app.command("lag-exporter")
def lag_exporter(
    every: Annotated[float, typer.Option(min=1, help="Seconds between measurements.")] = 10.0,
) -> None:
    """Export the group's lag as metrics, whether or not a worker runs.

    Serves /metrics (wootric_group_…), /livez and /readyz on HTTP__PORT. One exporter per group is
    enough. It does not join the group, and needs none of Wootric's settings.
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


@app.command()
def demo(
    events: Annotated[int, typer.Option(min=1, help="Number of events to send.")] = 20_000,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="Send for this many seconds, instead of a number of events."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the generated events.")] = 1,
    webhooks: Annotated[
        bool, typer.Option("--bridge", help="Send the events to a bridge, as signed webhooks.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object.")
    ] = False,
) -> None:
    """Run Kafka, Wootric's emulator and the service on this machine, without accounts.

    While events are delivered, a worker is killed with kill -9 and restarted. The final report
    compares the events with what the emulator holds. Exit 0 only if they agree.
    """
    from stream.devtools.demo import run_demo  # noqa: PLC0415
    from stream.devtools.demo_report import print_document, print_report  # noqa: PLC0415

    show = print_document if as_json else print_report
    with exit_on_error():
        demo_run = run_demo(events=events, seconds=seconds, seed=seed, webhooks=webhooks, show=show)
        agrees = asyncio.run(demo_run)
    raise typer.Exit(0 if agrees else EXIT_FAILED)
