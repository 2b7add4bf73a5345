"""Everything that the generator reads from the product; no other module here imports it.

A moved or renamed module of the product needs a change in this module only.
"""

import ast
import importlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import orjson
import typer
import yaml
from prometheus_client.metrics import MetricWrapperBase

from scripts import documents as chart
from sink.wootric import replies
from stream.bridge import payload
from stream.cli import app as cli
from stream.cli.help import PANELS
from stream.devtools.wootric_emulator import behaviour
from stream.devtools.wootric_emulator.behaviour import Behaviour
from stream.engine import end_user_cache
from stream.engine.task_manager import HaltReason
from stream.kafka import topic_policies
from stream.kafka.config import KafkaConfig
from stream.operations.analysis import explanations
from stream.operations.dry_run import NOT_AN_OBJECT
from stream.operations.settings import Setting, catalogue
from stream.secret_files import file_names
from stream.settings_loader import names, secret_names
from stream.telemetry.lag_exporter import LagMetrics
from stream.telemetry.log_events import EVENTS
from stream.telemetry.metrics import BridgeMetrics, Metrics
from stream.transform.result import NOTES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHART = ROOT / "helm" / "wootric-destination"
PACKAGES = ("stream", "sink")
EMULATOR = "wootric_emulator"
"""The folder whose literals are not reasons of the service."""
LEDGER_MODULES = {"lanes.py", "ledger.py", "dead_letter.py"}
"""They reject only what the service itself wrote, so their reasons are never an event's."""
DEDUPE_WINDOW_S = 7 * 86_400


def code() -> Iterator[Path]:
    """Yield every module of the product."""
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def read(path: Path) -> str:
    """Return a file's text."""
    return path.read_text(encoding="utf-8")


# Settings


def settings() -> Mapping[str, tuple[str, list[Setting]]]:
    """Return the settings by section, with the section's description."""
    return catalogue()


def setting_names() -> set[str]:
    """Return all names that the environment may have, including those of files."""
    return {*names(), *file_names(secret_names())}


# Commands


def commands() -> Iterator[tuple[str, Any]]:
    """Yield the path and the command of every command."""
    yield from _commands(typer.main.get_command(cli.app), ())


def command_panels() -> Mapping[str, Sequence[str]]:
    """Return the top-level commands by what they are for."""
    return PANELS


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


# Metrics


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, by the name that Prometheus shows."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def metrics() -> Mapping[str, list[Metric]]:
    """Return the metrics by the command that serves them."""
    catalogues: Mapping[str, Any] = {
        "run": Metrics,
        "lag-exporter": LagMetrics,
        "bridge": BridgeMetrics,
    }
    return {command: list(_metrics(make())) for command, make in catalogues.items()}


def _metrics(catalogue: Any) -> Iterator[Metric]:
    for metric in vars(catalogue).values():
        if isinstance(metric, MetricWrapperBase):
            suffix = "_total" if metric._type == "counter" else ""
            name = f"{metric._name}{suffix}"
            kind, labels = str(metric._type), tuple(metric._labelnames)
            yield Metric(name, kind, labels, str(metric._documentation))


# Words


def log_events() -> list[tuple[str, str, str, str]]:
    """Return (event, level, when, what to do) of every log event."""
    return [(event.name, event.level, event.description, event.action) for event in EVENTS]


def skips() -> Mapping[str, str]:
    """Return the reasons for skipping with their meanings."""
    return dict(explanations.SKIPS)


def named_reasons() -> set[tuple[str, str]]:
    """Return the (outcome, reason) pairs in constants of the code."""
    words = {word for _, word in (*replies._BY_TEXT, *replies._BY_MESSAGE)}
    words |= set(replies._BY_STATUS.values())
    return {
        ("delivered", ""),
        ("skipped", end_user_cache.UNCHANGED),
        ("skipped", end_user_cache.STALE),
        ("skipped", "tombstone"),
        ("rejected", "status_*"),
        *(("rejected", word) for word in words),
    }


def preview_reason() -> str:
    """Return the reason that only the preview of `transform` has."""
    return NOT_AN_OBJECT


def notes() -> set[str]:
    """Return the notes of the transform."""
    return set(NOTES)


def halt_reasons() -> list[str]:
    """Return the halt reasons."""
    return [str(reason) for reason in HaltReason]


def bridge_refusals() -> Mapping[str, int]:
    """Return the HTTP status of each reason for which the bridge rejects a request."""
    return {str(reason): status for reason, status in payload.STATUS.items()}


# Topics and schemas


def topic_plans() -> list[Any]:
    """Return the four topics as they should be, with the defaults."""
    config = KafkaConfig(
        bootstrap_servers="",
        group_id="",
        instance_id="",
        topic="segment.events",
        ledger_topic="segment.events.wootric.ledger",
        dead_letter_topic="segment.events.wootric.dlq",
        parked_topic="segment.events.wootric.parked",
    )
    return topic_policies.plans(
        config,
        dedupe_window_s=DEDUPE_WINDOW_S,
        record_bytes_max=topic_policies.RECORD_BYTES_DEFAULT,
    )


def schemas() -> Mapping[str, Any]:
    """Return the Avro schemas by their names."""
    folder = ROOT / "schemas" / "avro"
    return {path.stem: orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*.avsc"))}


# The chart


def alerts() -> list[dict[str, Any]]:
    """Return the alerts of the chart's rules."""
    return [
        rule
        for path in sorted((CHART / "files" / "rules").glob("*.yaml"))
        for group in yaml.safe_load(read(path))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


def dashboards() -> list[dict[str, Any]]:
    """Return the chart's dashboards."""
    folder = CHART / "files" / "dashboards"
    return [orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def chart_values() -> list[tuple[str, str, str]]:
    """Return (path, default, meaning) of every value of the chart."""
    text = read(CHART / "values.yaml")
    values = yaml.safe_load(text)
    return [(path, chart._default(values, path), told) for path, told in chart.descriptions(text)]


def chart_defaults() -> dict[str, Any]:
    """Return the chart's values."""
    return dict(yaml.safe_load(read(CHART / "values.yaml")))


# The emulator


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch of the emulator; ``positions`` is empty if it takes any number or text."""

    name: str
    default: object
    positions: tuple[object, ...]
    meaning: str


def switches() -> list[Switch]:
    """Return every switch of the emulator's behaviour.

    Raises:
        ValueError: one has no text.
    """
    meanings = dict(_attribute_texts(Path(behaviour.__file__), Behaviour.__name__))
    hints = get_type_hints(Behaviour)
    names = [field.name for field in fields(Behaviour)]
    if missing := set(names) - meanings.keys():
        raise ValueError(f"switches without a text: {', '.join(sorted(missing))}")
    default = Behaviour()
    return [
        Switch(name, getattr(default, name), _positions(hints[name]), _markdown(meanings[name]))
        for name in names
    ]


def _positions(hint: Any) -> tuple[object, ...]:
    if hint is bool:
        return (True, False)
    return get_args(hint) if get_origin(hint) is Literal else ()


def _markdown(text: str) -> str:
    return text.replace("``", "`")


def _attribute_texts(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield the attributes of a class that have a text below them."""
    for node in ast.parse(read(path)).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for above, below in zip(node.body, node.body[1:], strict=False):
                match above, below:
                    case (
                        ast.AnnAssign(target=ast.Name(id=attribute)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        yield attribute, text


# Tests


def tests_that_set(names: Collection[str]) -> dict[str, list[str]]:
    """Return, for each of these switches, the tests that set it by its name."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
                "test_"
            ):
                for name in _arguments_of(node, {"Behaviour", "replace"}) & found.keys():
                    found[name].append(node.name)
    return found


def drawn_switches() -> set[str]:
    """Return the switches whose position each schedule of the service simulation draws."""
    text = read(ROOT / "tests" / "simulation" / "service_simulation.py")
    return {
        keyword.arg
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "Behaviour"
        for keyword in node.keywords
        if keyword.arg and isinstance(keyword.value, ast.Call)
    }


def tests_under(readings: str) -> list[str]:
    """Return the files of tests whose fixture has the readings of this name."""
    return [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if f"fixture(params={readings}," in read(path)
    ]


def _arguments_of(node: ast.AST, called: Collection[str]) -> set[str]:
    return {
        keyword.arg
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if call.func.id in called
        for keyword in call.keywords
        if keyword.arg
    }


def cases(name: str) -> Any:
    """Return the golden cases of a file."""
    return orjson.loads((ROOT / "tests" / "cases" / f"{name}.json").read_bytes())


def test_names() -> set[str]:
    """Return the names of all tests."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for line in read(path).splitlines():
            words = line.strip().removeprefix("async ").split("(")[0].split()
            if len(words) == 2 and words[0] == "def" and words[1].startswith("test_"):
                found.add(words[1])
    return found


def of_tests(module: str, attribute: str) -> Any:
    """Return an attribute of a module next to the tests."""
    for folder in ("tests/fixtures", "tests/model"):
        if str(ROOT / folder) not in sys.path:
            sys.path.append(str(ROOT / folder))
    return getattr(importlib.import_module(module), attribute)
