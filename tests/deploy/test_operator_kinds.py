"""The definitions of operators' kinds: fetched by their hashes, and wider than the quick tests'."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import operator_kinds
import pytest
from chart_tools import MissingError
from rendering import EXAMPLES, render
from test_render import CRDS

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1200)]

SUMS = operator_kinds.SUMS.read_text().splitlines(keepends=True)


def changed(line: str) -> str:
    module, version, digest = line.split()
    return f"{module} {version} h1:{digest.removeprefix('h1:').swapcase()}\n"


def test_every_kind_of_others_is_fetched() -> None:
    assert operator_kinds.FILES.keys() == CRDS.keys()


@pytest.mark.parametrize(
    ("line", "said"), [(lambda _: "", "has not the hash"), (changed, "checksum mismatch")]
)
def test_a_module_without_its_hash_is_refused(line, said, tmp_path, monkeypatch) -> None:
    """A missing one would be added by Go, without a word."""
    sums = tmp_path / "modules.sum"
    sums.write_text("".join([line(SUMS[0]), *SUMS[1:]]))
    monkeypatch.setattr(operator_kinds, "SUMS", sums)
    with pytest.raises(MissingError, match=said):
        operator_kinds.definitions()


def test_the_quick_tests_know_no_field_that_an_operator_does_not_know() -> None:
    """`tests/chart/crds.json` needs no module; it is a part of what the operators define."""
    definitions = operator_kinds.definitions()
    versions = {
        document["kind"]: document["apiVersion"].rpartition("/")[2]
        for example in EXAMPLES
        for document in render(values=example)
    }
    for kind, ours in CRDS.items():
        theirs = operator_kinds.schema(definitions[kind], versions[kind])
        assert not list(unknown(ours, theirs["properties"]["spec"], Path(kind)))


def unknown(ours: dict[str, Any], theirs: dict[str, Any], at: Path) -> Iterator[str]:
    """Yield where a schema has a field, or a type, that another has not."""
    if "type" in ours and "type" in theirs and ours["type"] != theirs["type"]:
        yield f"{at}: {ours['type']}"
    for name, inner in ours.get("properties", {}).items():
        if name in theirs.get("properties", {}):
            yield from unknown(inner, theirs["properties"][name], at / name)
        elif not theirs.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{at / name}"
    if "items" in ours and "items" in theirs:
        yield from unknown(ours["items"], theirs["items"], at / "[]")
