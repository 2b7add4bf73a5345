"""The command line. stdout is data, stderr is talk; exit codes follow sysexits."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from stream import __version__
from stream.cli.operations import AsJson, operate_app
from stream.errors import StartupError
from stream.operations.output import EXIT_FAILED, fail, print_message, told

if TYPE_CHECKING:
    from stream.kafka.config import KafkaConfig
    from stream.kafka.topics import Finding
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
topics_app = typer.Typer(
    help="Create and check the four topics: input, ledger, dead letters, parked.",
    no_args_is_help=True,
)
app.add_typer(topics_app, name="topics")
app.add_typer(operate_app)


def main() -> None:
    """Run the command line."""
    app(prog_name="wootric-stream")


def _leave(code: int) -> NoReturn:
    """End the process at once. Everything is closed; what is left are admin clients, and freeing
    those may wait for ever while the brokers are away: a supervisor would have to kill us.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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

    Settings come from the environment (KAFKA__…, WOOTRIC__…, BRIDGE__…, SCHEMA_REGISTRY__…,
    HTTP__…, LOG__…); docs/reference/settings.md lists them. `wootric-stream demo` shows all of it
    on one machine, without accounts.
    """


@app.command()
def run(
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be sent, and send and commit nothing."),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="With --dry-run: end after so many records.")
    ] = None,
) -> None:
    """Run the service; all settings come from the environment.

    It joins the consumer group, delivers, and serves metrics and health on HTTP__PORT. SIGTERM
    finishes what is under way, commits it and leaves: exit 0. Exit 78: the settings or the
    topics are not right; 69 and 75: Kafka is away or the producer is beyond repair, start again.

    --dry-run reads the records between the committed offsets and the end, as a member of no
    group, and restores from the ledger what is known. stdout gets a JSON line for each request
    that would be sent, and for each event that would be skipped, rejected or parked, in the
    order in which it would happen if all of them waited already; stderr gets a summary. A look-up
    is shown with what follows if it finds nobody ("only_if"). Credentials and the account token
    are masked; what is sent is personal data, and is shown as it is.
    """
    if dry_run:
        _rehearse(limit)
        return
    if limit is not None:
        raise typer.BadParameter("--limit goes with --dry-run")
    from stream.runtime.worker import serve  # noqa: PLC0415  only the service pays for what it loads
    from stream.settings_loader import load  # noqa: PLC0415

    _serve(load, serve)


def _serve(load: Callable[[], S], serve: Callable[[S], Coroutine[None, None, None]]) -> NoReturn:
    """Run a service with the settings that ``load`` gives, and end the process."""
    import structlog  # noqa: PLC0415
    import uvloop  # noqa: PLC0415

    from stream.runtime.worker import keep_little  # noqa: PLC0415
    from stream.settings import LogFormat  # noqa: PLC0415
    from stream.telemetry.log import configure  # noqa: PLC0415

    code = 0
    try:
        with told():
            settings = load()
            configure(
                level=settings.log.level,
                as_json=settings.log.format is LogFormat.JSON,
                instance=settings.kafka.instance_id,
            )
            keep_little()
            with suppress(asyncio.CancelledError):  # told to stop before it had begun
                uvloop.run(serve(settings))
    except typer.Exit as end:
        code = end.exit_code
    except Exception as error:  # a traceback would have its words: a person's, perhaps
        log = structlog.get_logger()
        log.exception("unhandled_error", error=type(error).__name__)
        code = EXIT_FAILED
    _leave(code)


def _rehearse(limit: int | None) -> None:
    import orjson  # noqa: PLC0415

    from stream.operations.dry_run import dry_run  # noqa: PLC0415
    from stream.settings_loader import load  # noqa: PLC0415
    from stream.telemetry.log import configure  # noqa: PLC0415

    def write(line: dict[str, object]) -> None:
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")

    with told():
        settings = load()
        configure(level="WARNING", as_json=False, instance=settings.kafka.instance_id)
        summary = dry_run(settings, limit=limit, write=write)
    sys.stdout.buffer.flush()
    for line in summary.lines():
        print_message(line)


@app.command()
def bridge(
    from_topic: Annotated[
        str, typer.Option(help="Read this topic of Segment's Kafka destination instead.")
    ] = "",
) -> None:
    """Take Segment's webhooks: POST /v1/events on BRIDGE__PORT, signed, into the input topic.

    200 is said once Kafka has every event of a request, 503 when to send it again. With
    --from-topic the events come from a topic of JSON, and each is taken over exactly once.
    SIGTERM finishes what was accepted: exit 0. Exit 78: the settings, the topics or the schema
    are not right; 69 and 75: Kafka, the registry or a port is unavailable, start again.
    """
    from stream.bridge.service import serve_topic, serve_webhook  # noqa: PLC0415
    from stream.settings_loader import load_bridge  # noqa: PLC0415

    if from_topic:
        _serve(load_bridge, partial(serve_topic, source=from_topic))
    _serve(load_bridge, serve_webhook)


@topics_app.command("create")
def topics_create(
    partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of the input, if it does not exist yet.")
    ] = 6,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Replicas; default: what the cluster has, up to 3.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing; returns when all have leaders.

    Topics that exist are left as they are and checked. Exit 1: something has to be mended.
    """
    from stream.kafka.topics import create  # noqa: PLC0415

    with told():
        config, window_s = _kafka()
        findings = create(
            config,
            partitions=partitions,
            replication_factor=replication_factor,
            dedupe_window_s=window_s,
        )
    _print(findings, as_json=as_json)


@topics_app.command("check")
def topics_check(*, as_json: AsJson = False) -> None:
    """Check the topics; exit 1 if the service would refuse to start on them."""
    from stream.kafka.topics import check  # noqa: PLC0415

    with told():
        config, window_s = _kafka()
        findings = check(config, dedupe_window_s=window_s)
    _print(findings, as_json=as_json)


@app.command()
def publish(
    file: Annotated[
        Path, typer.Argument(help="Segment events, one JSON object a line; - for stdin.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Publish Segment JSON events to the input topic, Avro-encoded, keyed by user.

    The key is userId, else anonymousId, else messageId. stdout says how many were published.
    Exit 1 if a line was not JSON; the others are published all the same.
    """
    from stream.kafka.producer import publish as publish_lines  # noqa: PLC0415
    from stream.runtime.worker import kafka_config  # noqa: PLC0415
    from stream.schema_registry.setup import header_for  # noqa: PLC0415
    from stream.settings_loader import load_kafka, load_registry  # noqa: PLC0415

    with told(), _open(file) as lines:
        config = kafka_config(load_kafka())
        header = asyncio.run(header_for(load_registry(), config.topic))
        report = publish_lines(config, lines, header=header, say=print_message)
    if as_json:
        _write(asdict(report))
    else:
        typer.echo(report.published)
    if report.broken:
        fail(f"{report.broken} lines are not JSON, the first is line {report.first_broken}", 1)


@app.command()
def transform(
    file: Annotated[
        Path, typer.Argument(help="Segment events, one JSON object a line; - for stdin.")
    ] = Path("-"),
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say where each field comes from, or why it is absent."),
    ] = False,
) -> None:
    """Show what would become of Segment events, touching nothing.

    One JSON line each: message_id, outcome (deliver, skip, reject), reason, operation, and the
    request where it needs no look-up. --explain adds an object with the path and the reading of
    each field, and what was left out and why. WOOTRIC__ACCOUNT_TOKEN, WOOTRIC__PIXEL_URL,
    WOOTRIC__AMOUNT_SUFFIX and WOOTRIC__DELETE_USERS are honoured when set.
    """
    from stream.operations.dry_run import preview_lines  # noqa: PLC0415

    with told(), _open(file) as lines:
        for line in preview_lines(lines, explained=explain):
            sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()


@app.command()
def emulator(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")
    ] = 8091,
) -> None:
    """Run Wootric on loopback: end users, responses, declines, pixel, OAuth, limits, faults.

    State, journal and faults to order are under /_emulator/.
    """
    from stream.devtools.wootric_emulator import serve  # noqa: PLC0415
    from stream.runtime.worker import keep_little  # noqa: PLC0415

    keep_little()
    serve(port)


@app.command()
def broker(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port; default: a free one.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Data and logs; default: a temporary folder.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=9, help="Brokers: one, or three.")] = 1,
) -> None:
    """Run a real Apache Kafka on this machine, in the foreground.

    stdout gets its bootstrap servers once it is up. Needs Java 17 and Maven.
    """
    from stream.devtools.local_kafka import run_foreground  # noqa: PLC0415

    with told():
        run_foreground(port, directory, nodes, print_message)


@app.command()
def doctor(
    *,
    of_bridge: Annotated[
        bool, typer.Option("--bridge", help="Look at what the bridge needs instead.")
    ] = False,
    tolerant: Annotated[
        bool,
        typer.Option(
            "--tolerate-outages",
            help="Only warn while Wootric or the schema registry is away: the service waits for "
            "them itself. What they refuse still fails.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
) -> None:
    """Look at everything that has to be right; each failure with its mend.

    Settings, names, certificates, login, rights, topics, limits, transactions, group, the schema
    registry and its schemas, Wootric's token, a look-up there, the clock. It writes nothing. The
    exit code is that of the first failure: 69 unavailable, 77 permission, 78 configuration.
    """
    from stream.doctor import run_bridge_checks, run_checks  # noqa: PLC0415
    from stream.doctor.result import format_line, to_json  # noqa: PLC0415

    found = []
    look = run_bridge_checks if of_bridge else run_checks
    for one in look(tolerant=tolerant):
        found.append(one)
        if not as_json:
            typer.echo(format_line(one))
    if as_json:
        typer.echo(to_json(found))
    _leave(next((one.exit_code for one in found if one.exit_code), 0))


@app.command()
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    url: Annotated[
        list[str] | None,
        typer.Option(help="A worker's address, as often as there are; default: the one here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, one object a look.")] = False,
) -> None:
    """Show how the group is: lag, rates, in doubt, letters, and what its workers say.

    From the group's offsets, so that it also answers when no worker lives; with --url from the
    workers' /status as well. Two looks a second apart give the rates.
    """
    from stream.operations.status import overview, watch_status  # noqa: PLC0415
    from stream.runtime.worker import kafka_config  # noqa: PLC0415
    from stream.settings_loader import load_exporter  # noqa: PLC0415

    code = 0
    try:
        with told():
            settings = load_exporter()
            here = f"http://127.0.0.1:{settings.http.port}"
            looks = overview(kafka_config(settings.kafka), urls=url or [here], guessed=not url)
            watch_status(looks, watch=watch, as_json=as_json)
    except typer.Exit as end:
        code = end.exit_code
    _leave(code)


@app.command("lag-exporter")
def lag_exporter(
    every: Annotated[float, typer.Option(min=1, help="Seconds between measurements.")] = 10.0,
) -> None:
    """Export the group's lag as metrics, also when no worker lives.

    On HTTP__PORT: /metrics (wootric_group_…), /livez, /readyz. One for a group is enough; it is
    no member of the group, and needs none of Wootric's settings.
    """
    from stream.runtime.worker import kafka_config, until_signal  # noqa: PLC0415
    from stream.settings import LogFormat  # noqa: PLC0415
    from stream.settings_loader import load_exporter  # noqa: PLC0415
    from stream.telemetry.lag_exporter import LagExporter  # noqa: PLC0415
    from stream.telemetry.log import configure  # noqa: PLC0415

    code = 0
    try:
        with told():
            settings = load_exporter()
            kafka, http = settings.kafka, settings.http
            as_json = settings.log.format is LogFormat.JSON
            configure(level=settings.log.level, as_json=as_json, instance="lag-exporter")
            exporter = LagExporter(kafka_config(kafka, stays=True), every_s=every)
            asyncio.run(until_signal(exporter.run(http.host, http.port)))
    except typer.Exit as end:
        code = end.exit_code
    _leave(code)


@app.command()
def demo(
    events: Annotated[int, typer.Option(min=1, help="Events to send.")] = 20_000,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Send for this long, as many as there is time for.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same events.")] = 1,
    webhooks: Annotated[
        bool, typer.Option("--bridge", help="Send the events as signed webhooks, to a bridge.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as one JSON object.")
    ] = False,
) -> None:
    """Show all of it on this machine, without accounts: Kafka, Wootric's emulator, the service.

    While the events flow, a worker is killed with -9 and started again. At the end a report
    compares what went in with what Wootric holds: exit 0 only if they agree.
    """
    from stream.devtools.demo import run_demo  # noqa: PLC0415
    from stream.devtools.demo_report import print_document, print_report  # noqa: PLC0415

    show = print_document if as_json else print_report
    with told():
        demo_run = run_demo(events=events, seconds=seconds, seed=seed, webhooks=webhooks, show=show)
        agrees = asyncio.run(demo_run)
    raise typer.Exit(0 if agrees else EXIT_FAILED)


def _kafka() -> "tuple[KafkaConfig, int]":
    from stream.runtime.worker import kafka_config  # noqa: PLC0415
    from stream.settings_loader import load_kafka  # noqa: PLC0415

    kafka = load_kafka()
    return kafka_config(kafka), kafka.dedupe_window_s


def _print(findings: "Sequence[Finding]", *, as_json: bool) -> None:
    ok = all(finding.ok for finding in findings)
    if as_json:
        _write({"ok": ok, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.topic}  {finding.text}")
    if not ok:
        raise typer.Exit(EXIT_FAILED)


def _write(document: dict[str, object]) -> None:
    import orjson  # noqa: PLC0415

    typer.echo(orjson.dumps(document).decode())


@contextmanager
def _open(file: Path) -> Iterator[Iterator[bytes]]:
    if str(file) == "-":
        yield iter(sys.stdin.buffer)
        return
    try:
        with file.open("rb") as lines:
            yield iter(lines)
    except OSError as error:
        raise StartupError(f"{file} cannot be read: {error.strerror}", exit_code=66) from error
