"""The commands that set up and try out: topics, doctor, settings, transform, publish."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.help import group
from stream.cli.options import AsJson, EventsFile, Yes
from stream.codec.json_text import escaped
from stream.operations.output import (
    EXIT_FAILED,
    exit_now,
    exit_on_error,
    fail,
    flush_data,
    json_document,
    open_input,
    parts,
    print_data,
    print_message,
)

if TYPE_CHECKING:
    from stream.kafka.config import KafkaConfig
    from stream.kafka.topic_policies import Finding

setup_app = group()
topics_app = group("Create and check the four topics.")
setup_app.add_typer(topics_app, name="topics")


@topics_app.command("create")
def topics_create(
    partitions: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Partitions of the input topic, if it does not exist yet."
        ),
    ] = 6,
    replication_factor: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Replicas per partition. Default: one per broker, at most 3."
        ),
    ] = None,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing.

    $ wootric-stream topics create
    $ wootric-stream topics create --partitions 12 --yes

    Waits until all partitions have leaders. Existing topics are checked and not changed. Exit 1 if
    something has to be fixed.
    """
    from stream.kafka.topic_creation import create  # noqa: PLC0415

    with exit_on_error(as_json=as_json):
        config, kept = _kafka()
        findings = create(
            config,
            partitions=partitions,
            replication_factor=replication_factor,
            yes=yes,
            **kept,
        )
    _print(findings, as_json=as_json)
    if not (yes or as_json):
        print_data("nothing was created; repeat with --yes")


@topics_app.command("check")
def topics_check(*, as_json: AsJson = False) -> None:
    """Check the topics.

    $ wootric-stream topics check

    Exit 1 if the service would refuse to start with them.
    """
    from stream.kafka.topic_policies import check_privacy, least_window_s  # noqa: PLC0415
    from stream.kafka.topics import inspect  # noqa: PLC0415

    with exit_on_error(as_json=as_json):
        config, kept = _kafka()
        findings, configs = inspect(config, dedupe_window_s=kept["dedupe_window_s"])
        findings += check_privacy(config, configs, kept["letter_retention_s"])
    least_s = least_window_s(configs[config.topic]) if configs else None
    _print(findings, as_json=as_json, least_dedupe_window_s=least_s)


def _kafka() -> "tuple[KafkaConfig, dict[str, int]]":
    from stream.runtime.worker import kafka_config  # noqa: PLC0415
    from stream.settings_loader import load_kafka  # noqa: PLC0415

    kafka = load_kafka()
    return kafka_config(kafka), {
        "dedupe_window_s": kafka.dedupe_window_s,
        "letter_retention_s": kafka.dead_letter_retention_s,
    }


def _print(findings: "Sequence[Finding]", *, as_json: bool, **figures: int | None) -> None:
    ok = all(finding.ok for finding in findings)
    if as_json:
        found = [asdict(finding) for finding in findings]
        print_data(json_document({"ok": ok, "findings": found, **figures}))
    else:
        for finding in findings:
            level = "FAIL" if not finding.ok else "warn" if finding.warning else "ok  "
            line = f"{level}  {finding.topic}  {finding.text}"
            print_data(escaped(line))
    if not ok:
        raise typer.Exit(EXIT_FAILED)


@setup_app.command()
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
        typer.Option("--yes", help="With --probe-account: execute. Otherwise it is a preview."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the configuration, and print fixes.

    $ wootric-stream doctor
    $ wootric-stream doctor --bridge --json
    $ wootric-stream doctor --probe-account --yes

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

        with exit_on_error(as_json=as_json):
            command(yes=yes, as_json=as_json)
        return
    from stream.doctor import run_bridge_checks, run_checks  # noqa: PLC0415
    from stream.doctor.result import as_document, format_line  # noqa: PLC0415

    found = []
    checks = run_bridge_checks if of_bridge else run_checks
    for one in checks(tolerant=tolerant):
        found.append(one)
        if not as_json:
            print_data(format_line(one))
    if as_json:
        print_data(json_document(as_document(found)))
    exit_now(next((one.exit_code for one in found if one.exit_code), 0))


@setup_app.command()
def settings(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A setting, or the beginning of names: WOOTRIC__."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List and explain the settings.

    $ wootric-stream settings
    $ wootric-stream settings WOOTRIC__LEASE_S
    $ wootric-stream settings KAFKA__ --json

    Shows each environment variable with its default, what it does, and whether it is set here.
    Values are never shown.
    """
    from stream.operations.settings import show_settings  # noqa: PLC0415

    with exit_on_error(as_json=as_json):
        show_settings(name, as_json=as_json)


@setup_app.command()
def publish(file: EventsFile, *, as_json: AsJson = False) -> None:
    """Publish Segment events to the input topic.

    $ wootric-stream publish events.jsonl
    $ zcat events.jsonl.gz | wootric-stream publish -

    Values are Avro-encoded, and the key is userId, else anonymousId, else messageId. Prints the
    number of published events. Exit 1 if something is not JSON; the message names the lines.
    Nothing of a file is published then. Of stdin, which cannot be read twice, everything else
    is published.
    """
    from stream.kafka import producer  # noqa: PLC0415  slow to import
    from stream.runtime.worker import kafka_config  # noqa: PLC0415
    from stream.schema_registry.setup import header_for  # noqa: PLC0415
    from stream.settings_loader import load_kafka, load_registry  # noqa: PLC0415

    with exit_on_error(as_json=as_json), open_input(file) as source:
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
    if as_json:
        print_data(json_document(found))
    else:
        print_data(str(report.published))
    if broken.count:
        others = "nothing was published" if twice else "everything else was published"
        fail(f"{broken}; {others}", EXIT_FAILED, as_json=as_json)


@setup_app.command()
def transform(
    file: EventsFile = Path("-"),
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show where each field comes from, or why it is absent."),
    ] = False,
) -> None:
    """Show what events become, and send nothing.

    $ wootric-stream transform events.jsonl
    $ wootric-stream transform --explain < event.json

    Needs no Kafka. Prints one JSON line per event: message_id, outcome (deliver, skip, reject),
    reason, operation, and the request if it needs no look-up. --explain adds the source path
    and the conversion of each field, and what was left out and why. WOOTRIC__ACCOUNT_TOKEN,
    WOOTRIC__PIXEL_URL, WOOTRIC__AMOUNT_SUFFIX and WOOTRIC__DELETE_USERS apply if set. Exit 1 if
    something is not JSON; the message names the lines.
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
