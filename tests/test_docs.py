"""The documents: generated pages are in step, links lead somewhere, names exist, commands run."""

import ast
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from console import Block, Step, blocks
from fault_matrix import FAULTS, NOT_SHOWN
from safeguards import SAFEGUARDS
from stack import Stack

from scripts.docs import sources
from scripts.docs.markdown import MARK
from scripts.docs.pages import files
from stream import __version__

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *PAGES,
    ROOT / "schemas" / "avro" / "README.md",
    ROOT / "helm" / "wootric-destination" / "README.md",
]
WRITTEN = [
    path for path in DOCUMENTS if MARK not in path.read_text() and path.name != "CHANGELOG.md"
]
"""Those that a person writes, in the style of docs/contributing/docs.md."""
LINES_MAX = 400
README_LINES_MAX = 250
CONTRIBUTING_LINES_MAX = 60
GLOSSARY_LINES_MAX = 24
WALK_MAX = 45

PRIVATE = re.compile(r"\b(?:under way|(?<!dead[ -])letters?)\b", re.IGNORECASE)
"""Words that only written pages must not have; scripts/prose.py has those of all texts."""


def assert_none(
    offenders: Callable[[Path], Iterable[str]], documents: Iterable[Path] = DOCUMENTS
) -> None:
    """Fail where a document has something that it must not have."""
    found = {str(path.relative_to(ROOT)): sorted(offenders(path)) for path in documents}
    assert not {path: names for path, names in found.items() if names}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose_of(path: Path) -> str:
    """Return a document as one line, without links' targets, code and blocks."""
    text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.DOTALL | re.MULTILINE)
    return " ".join(re.sub(r"\]\([^)]*\)|`[^`]*`", "", text).split())


# Generated pages


def test_a_generated_page_is_what_the_code_says():
    generated = files()
    differing = [path.name for path, content in generated.items() if text_of(path) != content]
    assert not differing, "run `make docs`"
    assert {path for path in PAGES if MARK in text_of(path)} == set(generated)


# Size


def test_no_document_is_longer_than_a_reader_has_patience():
    lengths = {path: len(text_of(path).splitlines()) for path in DOCUMENTS}
    assert lengths[README] <= README_LINES_MAX
    assert lengths[ROOT / "CONTRIBUTING.md"] <= CONTRIBUTING_LINES_MAX
    assert lengths[DOCS / "reference" / "glossary.md"] <= GLOSSARY_LINES_MAX
    assert not {path for path, length in lengths.items() if length > LINES_MAX}


# Links


def anchors(path: Path) -> set[str]:
    """Return the anchors that a Git host makes of the headings."""
    text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def links(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (file, anchor) of the relative links."""
    text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            yield file, anchor


def broken(path: Path) -> Iterator[str]:
    """Yield the links of a document that lead nowhere."""
    for file, anchor in links(path):
        target = (path.parent / file).resolve() if file else path
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            yield f"{file}#{anchor}"


def test_links_lead_somewhere():
    assert_none(broken)


def test_every_page_is_linked_from_another():
    linked = {
        (path.parent / file).resolve()
        for path in DOCUMENTS
        for file, _ in links(path)
        if file and path.parent != (path.parent / file)
    }
    assert not [
        path for path in PAGES if path.resolve() not in linked and path != DOCS / "index.md"
    ]


# Names


def test_settings_that_are_named_exist():
    prefixes = "|".join(sources.settings())
    pattern = re.compile(rf"\b(?:{prefixes})__[A-Z_]*[A-Z]\b")
    known = sources.setting_names()
    assert_none(lambda path: set(pattern.findall(text_of(path))) - known)


def test_every_setting_is_documented():
    named = {row.name for _, rows in sources.settings().values() for row in rows}
    page = text_of(DOCS / "reference" / "settings.md")
    assert named <= set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))


def test_metrics_that_are_named_exist():
    known = {metric.name for rows in sources.metrics().values() for metric in rows}

    def unknown(path: Path) -> Iterator[str]:
        for name in re.findall(r"`(wootric_[a-z0-9_]+)[`{]", text_of(path)):
            if not {name, re.sub(r"_(?:bucket|count|sum)$", "", name)} & known:
                yield name

    assert_none(unknown)


def test_alerts_that_are_named_exist():
    known = {rule["alert"] for rule in sources.alerts()}
    assert_none(lambda path: set(re.findall(r"\bWootric[A-Z]\w+", text_of(path))) - known)


def test_commands_that_are_named_exist():
    known = {name for name, _ in sources.commands()}
    groups = {name.split()[0] for name in known if " " in name}
    pattern = re.compile(
        r"(?:`|\$ |\| |^|-- )wootric-stream ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", re.MULTILINE
    )

    def unknown(path: Path) -> Iterator[str]:
        for first, second in pattern.findall(text_of(path)):
            if (f"{first} {second}" if first in groups else first) not in known:
                yield f"{first} {second}"

    assert_none(unknown)


def test_targets_of_make_that_are_named_exist():
    known = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    pattern = re.compile(r"(?:`|^\$ |^)make ([a-z][a-z-]*)", re.MULTILINE)
    assert_none(lambda path: set(pattern.findall(text_of(path))) - known)


def test_tests_that_are_named_exist():
    known = sources.test_names()
    assert_none(lambda path: set(re.findall(r"`(test_\w+)`", text_of(path))) - known)


def test_files_that_are_named_exist():
    pattern = re.compile(r"`((?:stream|sink|tests|schemas|helm|scripts|docs)/[\w./-]*)`")
    assert_none(
        lambda path: [name for name in pattern.findall(text_of(path)) if not (ROOT / name).exists()]
    )


def test_every_value_of_the_chart_that_is_named_exists():
    values = sources.chart_defaults()
    for path in WRITTEN:
        for name in re.findall(r"`([a-z]\w+(?:\.\w+)+)(?:=[^`]*)?`", text_of(path)):
            inner = values
            if name.split(".")[0] not in values or name.endswith((".yaml", ".md", ".cert", ".key")):
                continue
            for part in name.split("."):
                assert part in inner, f"{path.name}: {name}"
                inner = inner[part]


def test_the_walk_of_an_event_names_functions_that_exist():
    module, walked = "", 0
    for line in text_of(DOCS / "explanation" / "architecture.md").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 4 or not cells[3].startswith("`"):
            continue
        module = cells[2].strip("`")
        defined = {
            node.name
            for node in ast.walk(ast.parse(text_of(ROOT / module)))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        functions = re.findall(r"`(\w+)`", cells[3])
        assert set(functions) <= defined, module
        walked += len(functions)
    assert 20 < walked <= WALK_MAX


# What the tables claim


def test_every_fault_and_safeguard_has_a_test_that_exists():
    named = {test for one in (*FAULTS, *SAFEGUARDS) for test in one.tests}
    assert len(FAULTS) > 60
    assert all(one.tests for one in FAULTS)
    assert all(all(row) for row in NOT_SHOWN)
    assert named <= sources.test_names()


def test_decisions_are_numbered_and_have_their_price():
    paths = sorted((DOCS / "decisions").glob("0*.md"))
    assert [int(path.name[:4]) for path in paths] == list(range(1, len(paths) + 1))
    for path in paths:
        text = text_of(path)
        assert text.startswith(f"# {int(path.name[:4])}. ")
        for part in ("Status: ", "## Decision", "## Reason", "## Price"):
            assert part in text, path.name


def test_the_glossary_has_the_words_that_this_product_adds():
    page = text_of(DOCS / "reference" / "glossary.md")
    words = re.findall(r"^\| ([\w ]+) \|", page, re.MULTILINE)
    added = ["ledger", "lane", "intent", "receipt", "parked", "lease", "fence"]
    assert {*added, "in doubt", "quiet period", "effect class"} <= set(words)


def test_the_changelog_has_an_entry_for_this_version():
    """Who installs a version can read what it brings."""
    assert f"## [{__version__}] - " in text_of(ROOT / "CHANGELOG.md")
    assert f"## {__version__}" in text_of(DOCS / "upgrade-notes.md")


# Style


def test_pages_use_the_words_of_the_field():
    assert_none(lambda path: PRIVATE.findall(prose_of(path)), WRITTEN)


# The site


def test_the_site_has_every_page_and_is_pinned():
    config = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))

    def leaves(node: object) -> Iterator[str]:
        match node:
            case str():
                yield node
            case dict():
                for inner in node.values():
                    yield from leaves(inner)
            case list():
                for inner in node:
                    yield from leaves(inner)

    listed = set(leaves(config["nav"]))
    several = ("runbooks/W", "decisions/0")
    expected = {str(path.relative_to(DOCS)) for path in PAGES}
    assert listed == {name for name in expected if not name.startswith(several)}
    lock = text_of(DOCS / "requirements.lock")
    pins = re.findall(r"^\w[\w.-]*==", lock, re.MULTILINE)
    assert any(pin.startswith("zensical==") for pin in pins)
    assert lock.count("--hash=sha256:") >= len(pins)


def test_the_address_of_the_documents_is_the_same_everywhere():
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    base = f"{project['urls']['Documentation'].rstrip('/')}/runbooks"
    assert sources.chart_defaults()["metrics"]["prometheusRule"]["runbookBaseUrl"] == base


# Commands


BLOCKS = [
    block for path in (README, *sorted((DOCS / "tutorials").glob("*.md"))) for block in blocks(path)
]
ran: dict[str, str] = {}
"""Output by command: a command that stands in two documents runs once."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone has, with this environment in the place of `.venv`."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    for name in listed.stdout.splitlines() or _all_files():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    program = folder / ".commands" / "wootric-stream"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stream "$@"\n')
    program.chmod(0o755)
    for stamp in ("locked", "ready"):
        (folder / ".commands" / stamp).touch()
    return folder


def _all_files() -> list[str]:
    hidden = {".git", ".venv", "__pycache__"}
    return [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if not hidden & set(path.parts)]


OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
"""What make tells the commands that it runs: another make prints where it is then."""


async def execute(step: Step, clone: Path, environment: dict[str, str]) -> str:
    commands = clone / ".commands"
    stamps = f"BIN={commands} LOCKED={commands}/locked READY={commands}/ready"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", step.command.replace("make ", f"make {stamps} ", 1)),
        cwd=clone,
        env={
            **{name: value for name, value in os.environ.items() if name not in OF_MAKE},
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": str(clone),
            "COLUMNS": "110",
            **environment,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, step.command
    return output.decode()


async def compare(block: Block, clone: Path) -> None:
    for step in block.steps:
        if step.command not in ran:
            ran[step.command] = await execute(step, clone, {})
        assert block.differs(step, ran[step.command]) is None, block.differs(
            step, ran[step.command]
        )


def test_the_tutorials_and_the_readme_have_blocks_that_run():
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if not one.needs & {"kafka"}], ids=lambda block: block.name
)
async def test_a_console_block_prints_what_it_says(block, clone):
    await compare(block, clone)


@pytest.mark.kafka
@pytest.mark.parametrize(
    "block",
    [
        pytest.param(one, id=one.name, marks=[pytest.mark.slow] * (one.name != "README.md 1"))
        for one in BLOCKS
        if "kafka" in one.needs and "stack" not in one.needs
    ],
)
async def test_a_console_block_on_kafka_prints_what_it_says(block, clone):
    """It starts a Kafka of its own."""
    await compare(block, clone)


@pytest.mark.kafka
@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if "stack" in one.needs], ids=lambda block: block.name
)
async def test_a_console_block_beside_a_service_prints_what_it_says(
    block: Block, clone: Path, stack: Stack
) -> None:
    """The service runs, and each event that is published is settled before the next command."""
    stack.worker("w1").start()
    environment = stack.environment("operator")
    for step in block.steps:
        output = await execute(step, clone, environment)
        output = output.replace(stack.config.topic, "segment.events")
        assert block.differs(step, output) is None, block.differs(step, output)
        if "publish" in step.command:
            await stack.until_caught_up()


def test_a_block_that_prints_something_else_is_noticed():
    """The comparison has teeth, and forgives what differs from run to run."""
    step = Step("status", "at 2026-01-01T00:00:00Z: 3 events\n…\ndone in 1.5 s\n")
    block = Block("made up", frozenset(), (step,))
    assert block.differs(step, "at 2027-02-02T02:02:02Z: 3 events\nx\ny\ndone in 20 s\n") is None
    assert block.differs(step, "at 2027-02-02T02:02:02Z: 4 events\ndone in 20 s\n")
    vary = Block("made up", frozenset({"numbers-vary"}), (step,))
    assert vary.differs(step, "at 2027-02-02T02:02:02Z: 4 events\ndone in 20 s\n") is None
