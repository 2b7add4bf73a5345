"""The commands for the four topics."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.operations import AsJson
from stream.codec.json_text import escaped
from stream.operations.output import EXIT_FAILED, exit_on_error, json_line, print_data

if TYPE_CHECKING:
    from stream.kafka.config import KafkaConfig
    from stream.kafka.topics import Finding

topics_app = typer.Typer(
    help="Create and check the four topics: input, ledger, dead letters, parked events.",
    no_args_is_help=True,
)


@topics_app.command("create")
def topics_create(
    partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of the input topic, if it does not exist yet.")
    ] = 6,
    replication_factor: Annotated[
        int | None,
        typer.Option(min=1, help="Replicas per partition. Default: one per broker, at most 3."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Create missing topics, and wait until all partitions have leaders.

    Existing topics are checked and not changed. Exit 1 if something has to be fixed.
    """
    from stream.kafka.topic_creation import create  # noqa: PLC0415

    with exit_on_error():
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
    """Check the topics; exit 1 if the service would refuse to start with them."""
    from stream.kafka.topics import inspect, least_window_s  # noqa: PLC0415

    with exit_on_error():
        config, window_s = _kafka()
        findings, configs = inspect(config, dedupe_window_s=window_s)
    least_s = least_window_s(configs[config.topic]) if configs else None
    _print(findings, as_json=as_json, least_dedupe_window_s=least_s)


def _kafka() -> "tuple[KafkaConfig, int]":
    from stream.runtime.worker import kafka_config  # noqa: PLC0415
    from stream.settings_loader import load_kafka  # noqa: PLC0415

    kafka = load_kafka()
    return kafka_config(kafka), kafka.dedupe_window_s


def _print(findings: "Sequence[Finding]", *, as_json: bool, **figures: int | None) -> None:
    ok = all(finding.ok for finding in findings)
    if as_json:
        found = [asdict(finding) for finding in findings]
        print_data(json_line({"ok": ok, "findings": found, **figures}))
    else:
        for finding in findings:
            line = f"{'ok  ' if finding.ok else 'FAIL'}  {finding.topic}  {finding.text}"
            print_data(escaped(line))
    if not ok:
        raise typer.Exit(EXIT_FAILED)
