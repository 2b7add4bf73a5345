"""Avro schemas and framed values, identified by fingerprint or by a registry's id.

Sources: Apache Avro 1.12 specification, sections "Schema Fingerprints", "Single-object
encoding" and "Schema Resolution"; Confluent's wire format (a zero byte and the id).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import orjson
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError
from fastavro.schema import UnknownType, fingerprint, to_parsing_canonical_form

from stream.errors import DecodeError, UnknownSchemaError

Definition: TypeAlias = str | list[Any] | dict[str, Any]

SINGLE_OBJECT = b"\xc3\x01"
HEADER_LENGTH = len(SINGLE_OBJECT) + 8

CONFLUENT = b"\x00"
CONFLUENT_HEADER_LENGTH = len(CONFLUENT) + 4

FOLDER = Path(__file__).parents[2] / "schemas" / "avro"
"""Next to this package, both in a checkout and in an installed wheel."""


LOGICAL_TYPE = "declared-logical-type"
"""The name of ``logicalType`` in a parsed schema: fastavro would convert the values."""

OTHER_FINGERPRINTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"segment_event": ("eeed9406dd30a447", "dfec4dc70e456a04")}
)
"""Fingerprints that some libraries compute for earlier forms of our schemas, as in the header.

Those of ``segment_event`` had times of the logical type ``timestamp-millis``. In the canonical form
of goavro, of Apache's Python and of Apache's Rust since 0.17 such a type is ``{"type":"long"}``;
hamba/avro and Apache's Rust 0.14 keep ``logicalType`` too. By the specification it is ``"long"``.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """A schema for writing and reading; values of logical types are left as their plain values.

    ``header`` is the start of every single object of this schema: two magic bytes and the
    CRC-64-AVRO fingerprint of the parsing canonical form, little-endian. ``branches`` are those of
    a union at the root; in the place of an unusable one is the error.
    """

    header: bytes
    plain: Definition
    branches: "tuple[Schema | DecodeError, ...]" = ()

    @classmethod
    def of(cls, definition: Definition, referenced: Sequence[Definition] = ()) -> "Schema":
        """Return the schema that an ``.avsc`` document defines.

        ``referenced`` are documents that define further types by name, each after those that it
        needs itself.

        Raises:
            DecodeError: it is not a schema (``unresolvable``), or a few bytes of it could demand
                unbounded work or depth. fastavro 1.13 limits neither: a type that contains
                itself overflows the C stack and ends the process.
        """
        if isinstance(definition, list):
            return cls._of_union(definition, referenced)
        named: dict[str, Any] = {}
        try:
            for other in referenced:
                with suppress(Exception):  # perhaps of a type that is not needed
                    parse_schema(_marked(other), named_schemas=named)
            parsed = parse_schema(_marked(definition), named_schemas=named)
            own: dict[str, Any] = {}
            plain = parse_schema(_whole(parsed, named, set()), named_schemas=own)
            _check(plain, own)
            return cls(_header(plain), plain)
        except UnknownType as error:
            detail = f"the schema names the type {kind_of(error.name)}, which is not defined"
            raise DecodeError("unresolvable", detail) from error
        except Exception as error:
            raise DecodeError("unresolvable", f"the schema cannot be used: {error}") from error

    @classmethod
    def _of_union(cls, parts: list[Any], referenced: Sequence[Definition]) -> "Schema":
        """Return the schema of a union; if a branch is unusable, nothing is written with it."""
        branches: list[Schema | DecodeError] = []
        for number, part in enumerate(parts):
            if isinstance(part, list):
                raise DecodeError("unresolvable", "the schema has a union directly within a union")
            try:
                branches.append(cls.of(part, (*referenced, *parts[:number])))
            except DecodeError as error:
                branches.append(error)
        plain = [branch.plain for branch in branches if isinstance(branch, Schema)]
        usable = len(plain) == len(branches)
        header = _header(parse_schema(_whole(plain, {}, set()))) if usable else b""
        return cls(header, plain if usable else [], tuple(branches))


class Schemas:
    """The schemas of writers, by fingerprint."""

    def __init__(self, schemas: Iterable[Schema] = ()) -> None:
        self._by_header = {schema.header: schema for schema in schemas}

    def add(self, schema: Schema) -> None:
        """Accept values of this schema."""
        self._by_header[schema.header] = schema

    def add_as(self, header: bytes, schema: Schema) -> None:
        """Accept values of this schema with another header than its own."""
        self._by_header[header] = schema

    def writer_of(self, value: bytes) -> Schema:
        """Return the schema that a single object was written with.

        Raises:
            DecodeError: the value is not a single object.
            UnknownSchemaError: its schema has not been added.
        """
        header = value[:HEADER_LENGTH]
        schema = self._by_header.get(header)
        if schema is not None:
            return schema
        if len(header) < HEADER_LENGTH or not header.startswith(SINGLE_OBJECT):
            raise DecodeError("undecodable", "the value is not an Avro single object")
        name = header[len(SINGLE_OBJECT) :][::-1].hex()
        detail = (
            f"no schema has the fingerprint {name}: write with schemas/avro/segment_event.avsc as "
            "it is, or with a registry"
        )
        raise UnknownSchemaError("unknown_schema", detail)


def schema_from_text(text: str, referenced: Sequence[str] = ()) -> Schema:
    """Return the schema that a registry's text defines, with the texts that it references.

    Raises:
        DecodeError: it cannot be used (``unresolvable``).
    """
    return Schema.of(_definition(text), tuple(map(_definition, referenced)))


def _definition(text: str) -> Definition:
    try:
        return orjson.loads(text)  # type: ignore[no-any-return]
    except orjson.JSONDecodeError:
        return text  # the bare name of a type


@cache
def packaged(name: str) -> Schema:
    """Return the schema in ``schemas/avro/<name>.avsc``."""
    return Schema.of(orjson.loads((FOLDER / f"{name}.avsc").read_bytes()))


def all_packaged() -> Schemas:
    """Return all schemas in ``schemas/avro``, including superseded versions."""
    schemas = Schemas(packaged(path.stem) for path in sorted(FOLDER.glob("*.avsc")))
    for name, fingerprints in OTHER_FINGERPRINTS.items():
        for other in fingerprints:
            schemas.add_as(SINGLE_OBJECT + bytes.fromhex(other), packaged(name))
    return schemas


def encode_single_object(schema: Schema, datum: Any) -> bytes:
    """Return the encoded value, preceded by its schema's header."""
    return encode(schema, datum, schema.header)


def encode(schema: Schema, datum: Any, header: bytes) -> bytes:
    """Return the encoded value, preceded by ``header``: the schema's own or a registry's."""
    output = BytesIO()
    output.write(header)
    schemaless_writer(output, schema.plain, datum)
    return output.getvalue()


def confluent_header(schema_id: int) -> bytes:
    """Return the header of a value whose schema has this id in a registry."""
    return CONFLUENT + schema_id.to_bytes(CONFLUENT_HEADER_LENGTH - len(CONFLUENT), "big")


def confluent_id(value: bytes | None) -> int | None:
    """Return the schema id of a value in Confluent's framing; None for any other value."""
    if value is None or len(value) < CONFLUENT_HEADER_LENGTH or not value.startswith(CONFLUENT):
        return None
    return int.from_bytes(value[len(CONFLUENT) : CONFLUENT_HEADER_LENGTH], "big")


def read(
    value: bytes, start: int, writer: Schema, reader: Schema, *, name_records: bool = False
) -> Any:
    """Return the value decoded from the bytes from ``start`` on, resolved to the reader's schema.

    With ``name_records``, a record in a union is returned as (full name, record).

    Raises:
        DecodeError: the bytes do not fit the writer's schema (``undecodable``), continue after
            its end (``trailing_bytes``), or its values do not fit the reader's schema
            (``unresolvable``).
    """
    data = BytesIO(value)
    data.seek(start)
    # Resolution doubles the cost of decoding, so it is used only if the schemas differ.
    target = None if writer.header == reader.header else reader.plain
    try:
        datum = schemaless_reader(data, writer.plain, target, return_record_name=name_records)
    except SchemaResolutionError:
        raise DecodeError(
            "unresolvable", "the writer's schema does not resolve to the service's schema"
        ) from None
    except Exception as error:  # noqa: BLE001  (fastavro raises any exception on garbage)
        detail = f"the bytes do not fit their schema ({type(error).__name__})"
        raise DecodeError("undecodable", detail) from None
    if data.tell() != len(value):
        raise DecodeError("trailing_bytes", f"{len(value) - data.tell()} bytes after the end")
    return datum


def branch_of(writer: Schema, value: bytes, start: int) -> tuple[Schema, int]:
    """Return the schema of the value from ``start`` on, and where its bytes begin: of a union at
    the root, the branch that the value names.

    Raises:
        DecodeError: there is no such branch (``undecodable``), or it is unusable
            (``unresolvable``).
    """
    if not writer.branches:
        return writer, start
    data = BytesIO(value)
    data.seek(start)
    try:
        number: Any = schemaless_reader(data, "long", None)
    except Exception:  # noqa: BLE001  (fastavro raises any exception on garbage)
        raise DecodeError("undecodable", "the value ends within the number of its branch") from None
    if number not in range(len(writer.branches)):
        raise DecodeError("undecodable", f"the union of its schema has no branch {number}")
    branch = writer.branches[number]
    if isinstance(branch, DecodeError):
        raise DecodeError(branch.reason, branch.detail)
    return branch, data.tell()


def kind_of(part: Any) -> str:
    """Return the kind of a part of a parsed schema; of a type used by its name, that name."""
    match part:
        case list():
            return "union"
        case {"type": str(kind)}:
            return kind
        case _:
            return str(part)


def logical_types(part: Any) -> Iterator[str]:
    """Yield the logical types that a field or type of a parsed schema declares for its value."""
    match part:
        case list():
            for branch in part:
                yield from logical_types(branch)
        case dict():
            if isinstance(unit := part.get(LOGICAL_TYPE), str):
                yield unit
            yield from logical_types(part.get("type"))
        case _:
            pass


def _header(plain: Definition) -> bytes:
    canonical = to_parsing_canonical_form(plain)
    return SINGLE_OBJECT + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def _marked(definition: Any) -> Any:
    """Return the definition with another name for ``logicalType``."""
    match definition:
        case dict():
            return {
                LOGICAL_TYPE if key == "logicalType" else key: value
                if key == "default"
                else _marked(value)
                for key, value in definition.items()
            }
        case list():
            return [_marked(branch) for branch in definition]
        case _:
            return definition


def _whole(part: Any, named: Mapping[str, Any], seen: set[str]) -> Any:
    """Return a part of a parsed schema in which each named type is defined once, where it is used
    first.
    """
    match part:
        case str() if part in named and part not in seen:
            return _whole(named[part], named, seen)
        case {"name": str(name)} if name in seen:
            return name
        case list():
            return [_whole(branch, named, seen) for branch in part]
        case dict():
            own = {key: value for key, value in part.items() if not key.startswith("__")}
            if "name" in own:
                seen.add(own["name"])
                own.setdefault("namespace", "")  # the name is a full one
            for key in own.keys() & {"items", "values"}:
                own[key] = _whole(own[key], named, seen)
            if "fields" in own:
                own["fields"] = [
                    {**field, "type": _whole(field["type"], named, seen)} for field in own["fields"]
                ]
            return own
        case _:
            return part


def _check(schema: Any, named: Mapping[str, Any], within: tuple[str, ...] = ()) -> None:
    """Reject a parsed schema with which a few bytes can demand unbounded work or depth."""
    if isinstance(schema, str):
        if schema in within:
            raise ValueError(f"{schema} contains itself")
        return
    parts = list(schema) if isinstance(schema, list) else []
    if isinstance(schema, dict):
        within = (*within, schema.get("name", ""))
        parts += [field["type"] for field in schema.get("fields", ())]
        parts += [schema[part] for part in ("items", "values") if part in schema]
    for part in parts:
        _check(part, named, within)
    if isinstance(schema, dict) and "items" in schema and _is_empty(schema["items"], named):
        raise ValueError("the items of an array take no bytes")


def _is_empty(schema: Any, named: Mapping[str, Any]) -> bool:
    """Return whether the values of a schema take no bytes."""
    match named.get(schema, schema) if isinstance(schema, str) else schema:
        case "null" | {"type": "null"} | {"type": "fixed", "size": 0}:
            return True
        case {"fields": fields}:
            return all(_is_empty(field["type"], named) for field in fields)
        case _:
            return False
