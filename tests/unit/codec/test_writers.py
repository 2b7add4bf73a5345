"""Single objects of other libraries, in their own bytes.

`tests/fixtures/writers/` has the program of each library and what it printed: with our schema, and
with the former one, whose times have a logical type.
"""

import json
import shutil
from pathlib import Path

import pytest
from toolchains import go, java, node, output_of

from stream.codec.avro import (
    FOLDER,
    HEADER_LENGTH,
    OTHER_FINGERPRINTS,
    SINGLE_OBJECT,
    Schema,
    all_packaged,
)
from stream.codec.decode import Decoder
from stream.codec.event import SEGMENT_EVENT, Event, encode_event

WRITERS = Path(__file__).parents[2] / "fixtures" / "writers"
RECORDED: dict[str, dict[str, str]] = json.loads((WRITERS / "recorded.json").read_text())
SCHEMAS = {
    "current": FOLDER / "segment_event.avsc",
    "former": WRITERS / "with_logical_type.avsc",
}
FINGERPRINT = "15336413f8459372"
EVENT = Event(
    type="identify",
    message_id="m-1",
    user_id="ada",
    timestamp_ms=1533310126493,
    traits={"email": "ada@example.com"},
)
LIVE = ("java", "goavro", "hamba", "avsc", "avro_js")


@pytest.mark.parametrize("library", RECORDED)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_bytes_of_a_library_are_read(library, schema):
    value = bytes.fromhex(RECORDED[library][schema])
    assert Decoder(all_packaged()).decode(value) == EVENT
    assert value[HEADER_LENGTH:] == encode_event(EVENT)[HEADER_LENGTH:]


@pytest.mark.parametrize("library", RECORDED)
def test_without_logical_types_all_libraries_have_our_fingerprint(library):
    assert RECORDED[library]["current"][4:20] == FINGERPRINT


def test_the_fingerprints_of_the_former_schema_are_those_that_are_known():
    known = {FINGERPRINT, *OTHER_FINGERPRINTS["segment_event"]}
    assert {writer["former"][4:20] for writer in RECORDED.values()} == known


@pytest.mark.parametrize("path", SCHEMAS.values(), ids=SCHEMAS)
def test_our_fingerprint_is_that_of_both_schemas(path):
    header = SINGLE_OBJECT + bytes.fromhex(FINGERPRINT)
    assert Schema.of(json.loads(path.read_bytes())).header == SEGMENT_EVENT.header == header


def test_every_library_has_its_program():
    assert {path.name for path in WRITERS.iterdir() if path.is_dir()} == set(RECORDED)
    assert len(RECORDED) == 9
    assert set(LIVE) < set(RECORDED)


def command_of(library: str) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs a library's program, and its variables."""
    folder = WRITERS / library
    if library == "java":
        return [*java(folder / "pom.xml"), str(folder / "Writer.java")], {}
    if library in {"goavro", "hamba"}:
        return [str(go(*sorted(folder.iterdir())))], {}
    return [shutil.which("node") or "node", str(folder / "writer.js")], node(
        folder / "package.json"
    )


@pytest.mark.slow
@pytest.mark.parametrize("library", LIVE)
def test_a_library_writes_what_was_recorded(library):
    """Its libraries are fetched, and its program is built."""
    command, variables = command_of(library)
    printed = {
        name: output_of([*command, str(path)], **variables).strip()
        for name, path in SCHEMAS.items()
    }
    assert printed == RECORDED[library]
