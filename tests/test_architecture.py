"""The structure that documents and contracts promise, compared with the code."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from prometheus_client.metrics import MetricWrapperBase
from rows import ROWS
from safeguards import SAFEGUARDS

from sink.wootric import refusals
from stream import __version__, cli, users
from stream.operate import story
from stream.secret_files import file_names
from stream.settings import SECTIONS, secret_names
from stream.telemetry.bridge_metrics import BridgeMetrics
from stream.telemetry.events import EVENTS
from stream.telemetry.lag import LagMetrics
from stream.telemetry.metrics import Metrics

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {one["id"]: one for one in PYPROJECT["tool"]["importlinter"]["contracts"]}

EDGES = {
    "stream.__main__",
    "stream.bridge",
    "stream.cli",
    "stream.memory",
    "stream.doctor",
    "stream.dry_run",
    "stream.kafka",
    "stream.local",
    "stream.operate",
    "stream.pauses",
    "stream.preview",
    "stream.processor",
    "stream.registry",
    "stream.renewal",
    "stream.secret_files",
    "stream.sending",
    "stream.service",
    "stream.settings",
    "stream.store",
    "stream.telemetry",
    "stream.terminal",
}
"""What may know clocks, sockets and Kafka; every other module of the stream is its core."""

RECORD_ERRORS = {"DecodeError", "UnknownSchemaError", "TransformError", "Refuse", "Rejected"}
LEDGER_MODULES = {"intent.py", "ledger_codec.py", "dead_letter.py"}
"""What they refuse was written by us, and is never an event's reason."""

SHIPPED = ("stream", "sink", "schemas", "tests", "helm", ".ci")
FOREIGN = re.compile(
    r"(?<![\w.])/(?:work|root|home)/"
    r"|/tmp/[v]\b"
    r"|pypi\.[o]rg|pythonhosted\.[o]rg|repo1?\.maven\.[ao]|registry\.npmjs|proxy\.[g]olang"
    r"|^\s*(?:-i|--index-url|--extra-index-url|--trusted-host|--find-links)[ =]",
    re.MULTILINE,
)


def table(*header: str) -> list[tuple[str, ...]]:
    """Return the rows of the README's table with these columns."""
    lines = README.splitlines()
    start = lines.index(f"| {' | '.join(header)} |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return rows


# The README's tables


def default_of(field: Any) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is dict:
        return "`{}`"
    default = field.get_default()
    if field.default_factory is not None:  # taken from the machine
        return ""
    if default is None or default == "":
        return ""
    value = default.value if isinstance(default, Enum) else default
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`"


def test_every_test_that_the_readme_names_exists():
    """A row of the fault table without its test would be a claim."""
    rows = table("#", "fault", "made by", "expected", "result", "test")
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row[5])}
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) > 60
    assert all(row[1:5] and all(row[1:5]) for row in rows)
    assert all(re.findall(r"`test_\w+`", row[5]) for row in rows)
    assert all(all(row) for row in table("not shown", "why"))
    assert {name for name in named if f"def {name}(" not in sources} == set()


def test_the_readme_lists_all_safeguards_with_what_comes_of_leaving_them_out():
    """What the tests take away is what the table says, and nothing else."""
    expected = [
        (one.name, one.without, ", ".join(f"`{test}`" for test in one.tests)) for one in SAFEGUARDS
    ]
    assert table("safeguard", "without it", "test") == expected


def test_the_readme_says_what_the_model_of_the_protocol_comes_to():
    """The results are those that the model's own tests hold it to."""
    assert table("variant of the protocol", "of a", "goes wrong") == [
        (row.variant, str(row.kind), row.result) for row in ROWS
    ]


def test_the_readme_lists_all_settings_with_defaults_and_meaning():
    """A setting that is new, gone or changed has to be told to the operator."""
    expected = [
        (f"`{section.upper()}__{name.upper()}`", default_of(field), field.description)
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
    ]
    assert table("setting", "default", "meaning") == expected


@pytest.mark.parametrize(
    ("catalogue", "title"),
    [
        (Metrics, "metric"),
        (LagMetrics, "metric of `lag-exporter`"),
        (BridgeMetrics, "metric of `bridge`"),
    ],
)
def test_the_readme_lists_all_metrics_with_labels_and_meaning(catalogue, title):
    """Dashboards are built from these tables: names as Prometheus shows them."""
    expected = []
    for metric in vars(catalogue()).values():
        if isinstance(metric, MetricWrapperBase):
            suffix = "_total" if metric._type == "counter" else ""
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            expected.append(
                (f"`{metric._name}{suffix}`", metric._type, labels, metric._documentation)
            )
    assert table(title, "type", "labels", "meaning") == expected


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_the_readme_lists_all_commands_with_their_options_and_first_line():
    """What `--help` says first is what the table says."""
    documented = {}
    for usage, meaning in table("command", "what it does"):
        name = re.match(r"`([a-z][a-z-]*(?: [a-z][a-z-]*)?)", usage)
        assert name, usage
        documented[name[1]] = (set(re.findall(r"--[a-z-]+", usage)), meaning)
    expected = {}
    for name, command in commands(typer.main.get_command(cli.app)):
        options = {opt for param in command.params for opt in param.opts if opt.startswith("--")}
        expected[name] = (options, command.help.splitlines()[0])
    assert documented == expected


# The reasons


def texts(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression may be; what is no literal is found elsewhere."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body)
            yield from texts(orelse)
        case ast.JoinedStr(values=values):
            yield "".join(part.value if isinstance(part, ast.Constant) else "*" for part in values)


def called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def calls(paths: Iterable[Path]) -> Iterator[tuple[str, list[ast.expr], dict[str, ast.expr]]]:
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield called(node), node.args, {k.arg: k.value for k in node.keywords if k.arg}


def reasons_in_code() -> set[tuple[str, str]]:
    """Return every (outcome, reason) that a literal in the code can give a record."""
    found = {("delivered", ""), ("skipped", users.UNCHANGED), ("skipped", users.STALE)}
    found |= {("rejected", word) for _, word in (*refusals._BY_TEXT, *refusals._BY_MESSAGE)}
    found |= {("rejected", word) for word in refusals._BY_STATUS.values()}
    found |= {("rejected", "status_*")}
    paths = [
        path
        for package in ("stream", "sink")
        for path in (ROOT / package).rglob("*.py")
        if path.name not in LEDGER_MODULES and "emulator" not in path.parts
    ]
    objects = set()
    for name, args, keywords in calls(paths):
        reason = keywords.get("reason", args[0] if args else None)
        if name in RECORD_ERRORS and reason:
            found |= {("rejected", text) for text in texts(reason)}
        elif name in {"Skip", "Skipped"} and reason:
            found |= {("skipped", text) for text in texts(reason)}
        elif name == "Parked" and reason:
            found |= {("parked", text) for text in texts(reason)}
        elif name == "turned_away" and reason:
            found |= {(end, text) for end in ("rejected", "parked") for text in texts(reason)}
        elif name == "rejected" and len(args) > 1:
            found |= {("rejected", text) for text in texts(args[1])}
        elif name in {"_done", "count"} and len(args) > 1:
            for outcome in texts(args[-2]):
                found |= {(outcome, text) for text in texts(args[-1])}
        elif name == "as_object":
            objects |= {text.rpartition(".")[2] for text in texts(args[1])}
    # What ``stream.judge`` and ``as_object`` name by a constant and by a pattern.
    found.add(("skipped", "tombstone"))
    found.discard(("rejected", "*_not_object"))
    return found | {("rejected", f"{name}_not_object") for name in objects}


def test_the_readme_explains_every_reason_and_no_other():
    """A word in a dead letter's header that nobody explains is no help at night."""
    rows = table("outcome", "reason", "meaning", "what to do")
    documented = [(outcome, reason.strip("`")) for outcome, reason, _, _ in rows]
    assert len(documented) == len(set(documented))
    assert set(documented) == reasons_in_code()
    assert all(meaning and action for _, _, meaning, action in rows)


def test_trace_explains_skips_in_the_readmes_words():
    """One meaning a reason, wherever it is read."""
    rows = table("outcome", "reason", "meaning", "what to do")
    meanings = {
        reason.strip("`"): meaning for outcome, reason, meaning, _ in rows if outcome == "skipped"
    }
    assert dict(story.SKIPS) == meanings


# The log


def logged_in_code() -> set[tuple[str, str]]:
    """Return (event, level) of every log line in the code of the service and the exporter."""
    found = set()
    for package in ("stream", "sink"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[event, *_]
                    ) if level in {"debug", "info", "warning", "error", "exception", "critical"}:
                        level = "error" if level == "exception" else level
                        found |= {(text, level) for text in texts(event)}
    return found


def test_the_readme_explains_every_log_event_and_no_other():
    """An event id is a promise: alerts and searches are made of them."""
    assert {(event.name, event.level) for event in EVENTS} == logged_in_code()
    assert len(EVENTS) == len({event.name for event in EVENTS})
    expected = [(f"`{e.name}`", e.level, e.when, e.then) for e in EVENTS]
    assert table("event", "level", "when", "what to do") == expected


# What the README points at


def test_every_file_that_the_readme_names_exists():
    """A path that was renamed must not linger."""
    named = re.findall(r"(?:stream|sink|tests|schemas)/[\w./]*\.(?:py|json|avsc|md)\b", README)
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    missing = {name for name in (*named, *linked) if not (ROOT / name).exists()}
    assert named
    assert not missing


def test_every_setting_that_the_readme_names_exists():
    """An example with a name that stops the start would be worse than none."""
    known = {row[0].strip("`") for row in table("setting", "default", "meaning")}
    prefixes = "|".join(section.upper() for section in SECTIONS)
    named = set(re.findall(rf"\b(?:{prefixes})__[A-Z_]*[A-Z]\b", README))
    assert named - set(file_names(secret_names())) == known


def test_the_changelog_has_an_entry_for_this_version():
    """Who installs a version can read what it brings."""
    assert f"## [{__version__}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# Who may import whom


def unbroken(text: str) -> str:
    """Return the text without white space: lines end where the terminal does."""
    return "".join(text.split())


def lint_imports(folder: Path) -> "subprocess.CompletedProcess[str]":
    script = "from importlinter.cli import lint_imports_command as lint; lint()"
    return subprocess.run(
        [sys.executable, "-c", script, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_import_contracts_are_kept():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("sink/rate.py", "import stream", "sink-alone"),
        ("stream/flow.py", "import time", "stream-core"),
        ("stream/flow.py", "import stream.processor", "stream-core"),
        ("stream/transform/page.py", "import random", "stream-core"),
        ("stream/users.py", "import sink.http", "stream-core"),
        ("sink/retry.py", "import time", "sink-core"),
        ("sink/wootric/emulator/state.py", "import asyncio", "sink-core"),
        ("sink/classify.py", "import asyncio", "sink-verdicts"),
        ("stream/bridge/signature.py", "import time", "bridge-core"),
        ("stream/bridge/intake.py", "import stream.kafka.publish", "bridge-core"),
        ("stream/processor.py", "import confluent_kafka", "kafka-edge"),
        ("stream/service.py", "import opentelemetry", "tracing-edge"),
        ("sink/wootric/sink.py", "import aiohttp", "http-edge"),
        ("stream/processor.py", "import stream.service", "layers"),
        ("stream/operate/audit.py", "import stream.operate.desk", "operate-judges"),
    ],
)
def test_an_import_that_a_contract_forbids_breaks_it(tmp_path, module, line, contract):
    """Each contract has teeth: one forbidden line, and it says no."""
    for package in ("sink", "stream"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout
    assert unbroken(f"{CONTRACTS[contract]['name']} BROKEN") in unbroken(result.stdout)


def test_every_module_of_the_stream_is_core_or_edge():
    """A new module is pure unless somebody decides otherwise here."""
    modules = {
        f"stream.{path.stem}"
        for path in (ROOT / "stream").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"stream.__init__"}
    assert set(CONTRACTS["stream-core"]["source_modules"]) == modules - EDGES


# What is in the files


def shipped() -> Iterator[Path]:
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.name != ".git")
    for folder in SHIPPED:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    """The lock and the code work wherever packages come from, and wherever the clone is."""
    named = {
        str(path.relative_to(ROOT)): match[0]
        for path in shipped()
        if (match := FOREIGN.search(path.read_text(encoding="utf-8", errors="ignore")))
    }
    assert not named


def fields(schema: Any) -> Iterator[dict[str, Any]]:
    match schema:
        case dict():
            yield from schema.get("fields", ())
            for part in schema.values():
                yield from fields(part)
        case list():
            for part in schema:
                yield from fields(part)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "schemas" / "avro").glob("*.avsc")), ids=lambda p: p.stem
)
def test_every_field_of_a_schema_is_documented(path):
    """Who reads a topic with another tool has nothing but the schema."""
    found = list(fields(orjson.loads(path.read_bytes())))
    assert found
    assert not [field["name"] for field in found if not field.get("doc")]
