"""Decode a record's value to an event, or raise an error with a reason."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from stream.codec.avro import (
    CONFLUENT,
    CONFLUENT_HEADER_LENGTH,
    HEADER_LENGTH,
    SINGLE_OBJECT,
    Schema,
    Schemas,
    confluent_id,
    encode_single_object,
    read,
)
from stream.codec.event import NOTHING, SEGMENT_EVENT, TIMES, Event
from stream.codec.json_text import parse
from stream.errors import DecodeError, UnknownSchemaError

_MILLISECONDS = "timestamp-millis"


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
            raise DecodeError("undecodable", "the value is in neither of the two Avro framings")
        if writer is not SEGMENT_EVENT:
            _check_units(writer)
        return _event(read(value, start, writer, SEGMENT_EVENT))

    def _registered(self, value: bytes) -> Schema:
        if self._by_id is None:
            raise DecodeError(
                "no_registry", "the value needs SCHEMA_REGISTRY__URL, which is not set"
            )
        schema_id = confluent_id(value)
        if schema_id is None:
            raise DecodeError("undecodable", "the value ends within its header")
        schema = self._by_id(schema_id)
        if schema is None:
            raise UnknownSchemaError("unknown_schema", f"the registry has no schema {schema_id}")
        return schema


def _check_units(writer: Schema) -> None:
    """Reject times in other units: Avro's resolution does not convert microseconds."""
    for name in TIMES:
        unit = writer.logical_types.get(name, _MILLISECONDS)
        if unit != _MILLISECONDS:
            raise DecodeError("unresolvable", f"{name} is in {unit}, not in {_MILLISECONDS}")


def _event(fields: dict[str, Any]) -> Event:
    extra = _document(fields, "extra")
    if extra == []:  # as PHP writes an empty object
        extra = NOTHING
    if extra is not NOTHING and not isinstance(extra, dict):
        raise DecodeError("invalid_json", "extra is not a JSON object")
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


# Check whether values of a writer's schema can be read, with one sample per branch


_PLAIN: dict[str, Any] = {
    "null": None,
    "boolean": False,
    "int": 0,
    "long": 0,
    "float": 0.0,
    "double": 0.0,
    "bytes": b"{}",
    "string": "{}",  # some texts must be JSON
}


def try_to_read(writer: Schema) -> None:
    """Decode sample values of a schema that cover every branch of its unions.

    Raises:
        DecodeError: one of them is not an event.
    """
    decoder = Decoder(Schemas([writer]))
    parts = list(_parts(writer.plain))
    named = {part["name"]: part for part in parts if isinstance(part, dict) and "name" in part}
    branches = max(len(part) if isinstance(part, list) else 1 for part in parts)
    for branch in range(branches):
        decoder.decode(encode_single_object(writer, _value(writer.plain, branch, named)))


def _parts(schema: Any) -> Iterator[Any]:
    """Yield a parsed schema and all its parts."""
    yield schema
    match schema:
        case list():
            inner = schema
        case dict():
            inner = [field["type"] for field in schema.get("fields", ())]
            inner += [schema[name] for name in ("items", "values") if name in schema]
        case _:
            inner = []
    for part in inner:
        yield from _parts(part)


def _value(  # noqa: PLR0911  one case per kind of schema
    schema: Any, branch: int, named: dict[str, Any]
) -> Any:
    """Return a value of a parsed schema; of a union, of its ``branch``, modulo their number.

    Raises:
        DecodeError: no value of the schema exists.
    """
    match schema:
        case list() if schema:
            return _value(schema[branch % len(schema)], branch, named)
        case {"fields": fields}:
            return {field["name"]: _value(field["type"], branch, named) for field in fields}
        case {"type": "array", "items": items}:
            return [_value(items, branch, named)]
        case {"type": "map", "values": values}:
            return {"a": _value(values, branch, named)}
        case {"type": "enum", "symbols": [symbol, *_]}:
            return symbol
        case {"type": "fixed", "size": size}:
            return bytes(size)
        case {"type": kind} if kind != "enum":
            return _value(kind, branch, named)
        case str() if schema in _PLAIN:
            return _PLAIN[schema]
        case str() if schema in named:
            return _value(named[schema], branch, named)
        case _:
            raise DecodeError("unresolvable", f"there is no value of {schema}")
