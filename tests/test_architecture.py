"""The structure that the contracts promise, compared with the code."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {one["id"]: one for one in PYPROJECT["tool"]["importlinter"]["contracts"]}

EDGES = {
    "stream.__main__",
    "stream.bridge",
    "stream.cli",
    "stream.devtools",
    "stream.doctor",
    "stream.kafka",
    "stream.operations",
    "stream.runtime",
    "stream.schema_registry",
    "stream.secret_files",
    "stream.settings",
    "stream.settings_loader",
    "stream.state",
    "stream.telemetry",
    "stream.wootric",
}
"""What may know clocks, sockets and Kafka, but for the parts that the contract names; every
other module and folder at the root of the stream is its core."""

SHIPPED = ("stream", "sink", "schemas", "tests", "helm", "docs", "scripts", ".ci", ".github")
FOREIGN = re.compile(
    r"(?<![\w.])/(?:work|root|home)/"
    r"|/tmp/[v]\b"
    r"|pypi\.[o]rg|pythonhosted\.[o]rg|repo1?\.maven\.[ao]|registry\.npmjs|proxy\.[g]olang"
    r"|^\s*(?:-i|--index-url|--extra-index-url|--trusted-host|--find-links)[ =]",
    re.MULTILINE,
)


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
        ("sink/rate_limit.py", "import stream", "sink-alone"),
        ("stream/engine/task_manager.py", "import time", "core"),
        ("stream/engine/task_manager.py", "import stream.runtime.processor", "core"),
        ("stream/transform/page.py", "import random", "core"),
        ("stream/engine/end_user_cache.py", "import sink.http_session", "core"),
        ("stream/state/ledger.py", "import stream.state.rocksdb.database", "core"),
        ("stream/bridge/signature.py", "import time", "core"),
        ("stream/bridge/payload.py", "import stream.kafka.producer", "core"),
        ("stream/operations/analysis/audit.py", "import stream.operations.session", "core"),
        ("sink/rate_limit.py", "import time", "sink-core"),
        ("sink/classify.py", "import asyncio", "sink-core"),
        ("stream/devtools/wootric_emulator/state.py", "import asyncio", "emulator-core"),
        ("stream/devtools/wootric_emulator/state.py", "import sink", "emulator-alone"),
        ("stream/runtime/worker.py", "import stream.devtools.traffic", "devtools"),
        ("stream/runtime/processor.py", "import confluent_kafka", "kafka-edge"),
        ("stream/runtime/worker.py", "import opentelemetry", "tracing-edge"),
        ("stream/kafka/restore.py", "import rocksdict", "store-edge"),
        ("stream/kafka/config.py", "import aws_msk_iam_sasl_signer", "aws-edge"),
        ("sink/wootric/sink.py", "import aiohttp", "http-edge"),
        ("stream/kafka/restore.py", "import stream.runtime.worker", "layers"),
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
    core = {name for name in CONTRACTS["core"]["source_modules"] if name.count(".") == 1}
    assert core == modules - EDGES


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


def test_no_two_test_modules_share_a_name():
    """Pytest imports them by name alone: of two, one process collects only the first."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]


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
