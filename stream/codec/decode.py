"""Decode a record's value to an event, or raise an error with a reason."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, TypeAlias

from stream.codec.avro import (
    CONFLUENT,
    CONFLUENT_HEADER_LENGTH,
    HEADER_LENGTH,
    SINGLE_OBJECT,
    Schema,
    Schemas,
    branch_of,
    confluent_id,
    kind_of,
    logical_types,
    read,
)
from stream.codec.event import NOTHING, SEGMENT_EVENT, TIMES, Event, is_time_ms
from stream.codec.json_text import parse
from stream.errors import DecodeError, UnknownSchemaError

ById: TypeAlias = Callable[[int], Schema | None]


class Decoder:
    """Decodes Avro values of all known writers.

    ``by_id`` returns a registry's schema of an id, None if there is none, and raises DecodeError
    if it is unusable. Without a registry, values in Confluent's framing are rejected.
    """

    def __init__(self, schemas: Schemas, by_id: ById | None = None) -> None:
        self._schemas = schemas
        self._by_id = by_id

    def decode(self, value: bytes) -> Event:
        """Return the event in a value.

        Raises:
            UnknownSchemaError: the writer's schema is not known, or not yet.
            DecodeError: the bytes are not an event; see the dead letters' reasons
                ``undecodable``, ``no_registry``, ``trailing_bytes``, ``unresolvable`` and
                ``invalid_json``.
        """
        if value.startswith(SINGLE_OBJECT):
            writer, start = self._schemas.writer_of(value), HEADER_LENGTH
        elif value.startswith(CONFLUENT):
            writer, start = self._registered(value), CONFLUENT_HEADER_LENGTH
        else:
            detail = other_framing(value) or "the value is in neither of the two Avro framings"
            raise DecodeError("undecodable", detail)
        if writer is SEGMENT_EVENT:
            return _event(read(value, start, writer, SEGMENT_EVENT))
        return _event_of(*branch_of(writer, value, start), value)

    def _registered(self, value: bytes) -> Schema:
        schema_id = confluent_id(value)
        if schema_id is None:
            raise DecodeError("undecodable", "the value ends within its header")
        schema = None if self._by_id is None else self._by_id(schema_id)
        if schema is not None:
            return schema
        detail = other_framing(value)
        if detail is not None:
            raise DecodeError("undecodable", detail)
        if self._by_id is None:
            raise DecodeError(
                "no_registry", "the value needs SCHEMA_REGISTRY__URL, which is not set"
            )
        raise UnknownSchemaError("unknown_schema", f"the registry has no schema {schema_id}")


def _event_of(writer: Schema, start: int, value: bytes) -> Event:
    """Return the event of a value whose writer has another schema."""
    if kind_of(writer.plain) == "null":
        read(value, start, writer, writer)
        return Event(is_null=True)
    refusal = _refusal(writer)
    if refusal is not None:
        raise DecodeError("unresolvable", refusal)
    try:
        fields = read(value, start, writer, SEGMENT_EVENT)
    except DecodeError as error:
        if error.reason != "unresolvable":
            raise
        differing = "; ".join(detail for detail, _ in _differing_fields(writer))
        raise DecodeError(error.reason, differing or error.detail) from None
    return _event(fields)


def _event(fields: dict[str, Any]) -> Event:
    extra = _document(fields, "extra")
    if extra == []:  # as PHP writes an empty object
        extra = NOTHING
    if extra is not NOTHING and not isinstance(extra, dict):
        raise DecodeError("invalid_json", "extra is not a JSON object")
    for name in TIMES:
        time_ms = fields[name]
        if time_ms is not None and not is_time_ms(time_ms):
            extra = {**extra, name: time_ms}
            fields[name] = None
    return Event(
        type=fields["type"],
        message_id=fields["messageId"],
        user_id=fields["userId"],
        anonymous_id=fields["anonymousId"],
        event=fields["event"],
        name=fields["name"],
        timestamp_ms=fields["timestamp"],
        original_timestamp_ms=fields["originalTimestamp"],
        sent_at_ms=fields["sentAt"],
        received_at_ms=fields["receivedAt"],
        traits=_document(fields, "traits"),
        properties=_document(fields, "properties"),
        context=_document(fields, "context"),
        integrations=_document(fields, "integrations"),
        extra=extra,
    )


def _document(fields: dict[str, Any], name: str) -> Any:
    text = fields[name]
    if text is None:
        return NOTHING
    try:
        value = parse(text)
    except ValueError:
        raise DecodeError("invalid_json", f"{name} is not JSON, or nested too deeply") from None
    return NOTHING if value is None else value


# Whether values of a writer's schema can be read


_OURS: Any = SEGMENT_EVENT.plain
_READABLE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        field["name"]: ("long", "int") if field["name"] in TIMES else ("string", "bytes")
        for field in _OURS["fields"]
    }
)
"""The types of a writer that become those of our fields."""
_MILLISECONDS = "timestamp-millis"


def check_readable(writer: Schema) -> None:
    """Check that some values of a schema are events; each record decides about itself.

    Raises:
        DecodeError: none is (``unresolvable``). Of a union, no branch is; of a record, one of our
            fields has a type that is never readable.
    """
    refusals = []
    for schema in writer.branches or (writer,):
        if isinstance(schema, DecodeError):
            refusals.append(schema.detail)
        elif kind_of(schema.plain) != "null" or not writer.branches:
            refusal = _refusal(schema)
            never = [detail for detail, ever in _differing_fields(schema) if not ever]
            if refusal is None and not never:
                return
            refusals.append(refusal or "; ".join(never))
    raise DecodeError("unresolvable", "; ".join(refusals) or "all its values are null")


@cache
def _refusal(writer: Schema) -> str | None:
    """Return why no value of a schema is an event, except for the types of its fields."""
    plain: Any = writer.plain
    if kind_of(plain) != "record":
        return f"the schema is of type {kind_of(plain)}, not a record SegmentEvent"
    name = plain["name"]
    if name.rpartition(".")[2] != "SegmentEvent":
        return f"the record is {name}, not SegmentEvent"
    for field in plain["fields"]:
        for unit in logical_types(field) if field["name"] in TIMES else ():
            if unit != _MILLISECONDS:
                return f"field {field['name']} of record {name} is in {unit}, not {_MILLISECONDS}"
    return None


def _differing_fields(writer: Schema) -> Iterator[tuple[str, bool]]:
    """Yield for each field with a type that is not ours what differs, and whether it has another
    type that is readable. Fields of other names are ignored.
    """
    plain: Any = writer.plain
    for field in plain.get("fields", ()) if isinstance(plain, dict) else ():
        readable = _READABLE.get(field["name"])
        if readable is None:
            continue
        types = field["type"] if isinstance(field["type"], list) else [field["type"]]
        kinds = [kind_of(one) for one in types]
        if not {*kinds} <= {"null", *readable}:
            detail = (
                f"field {field['name']} of record {plain['name']} is {' or '.join(kinds)}, "
                f"and not null or {readable[0]} as in the service's schema"
            )
            yield detail, any(kind in readable for kind in kinds)


# Values in other framings


_JSON = (b"{", b"[")
_BLANK = b"\xef\xbb\xbf \t\r\n"
_CONTAINER = b"Obj\x01"
_GLUE = (b"\x03\x00", b"\x03\x05")
_GLUE_HEADER_LENGTH = 18
_LONG_ID_HEADER_LENGTH = 9
_INSTEAD = "write Confluent's framing or Avro's single object"
_APICURIO = (
    "set in the producer apicurio.registry.headers.enabled=false, "
    "apicurio.registry.as-confluent=true and apicurio.registry.use-id=contentId"
)
_BARE = (
    "this is Avro without a framing, perhaps with a schema id in a Kafka header: write Confluent's "
    f"framing or Avro's single object into the value; with Apicurio's serializer, {_APICURIO}"
)


def other_framing(value: bytes) -> str | None:
    """Return what a value is that is in another framing or none, and what to do; None if it is not
    recognised.

    Sources: AWSSchemaRegistryConstants of AWS Glue's serializers; Apicurio's 2.6.13, observed.
    """
    if value.lstrip(_BLANK).startswith(_JSON):
        return "this is JSON: use `bridge --from-topic`"
    if value.startswith(_CONTAINER):
        return f"this is an Avro container file: {_INSTEAD}, one event in each record"
    if value.startswith(_GLUE) and len(value) >= _GLUE_HEADER_LENGTH:
        return f"this is the framing of AWS Glue's serializer, which is not supported: {_INSTEAD}"
    return _behind_zero(value) or _bare(value)


def _behind_zero(value: bytes) -> str | None:
    if confluent_id(value) == 0 and any(value[CONFLUENT_HEADER_LENGTH:_LONG_ID_HEADER_LENGTH]):
        return f"this is Apicurio's framing with an id of 8 bytes: {_APICURIO}"
    if value.startswith(CONFLUENT) and _is_json(value[CONFLUENT_HEADER_LENGTH:]):
        return "this is JSON behind a schema id: write plain JSON and use `bridge --from-topic`"
    return None


def _bare(value: bytes) -> str | None:
    """Return what to do if all bytes are those of an event."""
    try:
        call = read(value, 0, SEGMENT_EVENT, SEGMENT_EVENT)["type"]
    except DecodeError:
        return None
    return _BARE if call else None


def _is_json(text: bytes) -> bool:
    if not text.startswith(_JSON):
        return False
    try:
        parse(text)
    except ValueError:
        return False
    return True
