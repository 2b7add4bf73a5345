"""The bytes of a record's value to an event: always an event, or an error with a reason."""

from collections.abc import Callable
from typing import Any, TypeAlias

from stream.codec.avro import (
    CONFLUENT,
    CONFLUENT_HEADER_LENGTH,
    HEADER_LENGTH,
    SINGLE_OBJECT,
    Schema,
    Schemas,
    confluent_id,
    read,
)
from stream.codec.event import NOTHING, Event
from stream.codec.json_text import parse
from stream.codec.segment import SEGMENT_EVENT, TIMES
from stream.errors import DecodeError, UnknownSchemaError

_MILLISECONDS = "timestamp-millis"


ById: TypeAlias = Callable[[int], Schema | None]


class Decoder:
    """Reads Avro values of any writer that is known.

    ``by_id`` gives the schema that a registry keeps under an id, None when it has none, and
    raises a DecodeError when it has one that can not be used; without a registry, values in
    Confluent's framing are refused.
    """

    def __init__(self, schemas: Schemas, by_id: ById | None = None) -> None:
        self._schemas = schemas
        self._by_id = by_id

    def decode(self, value: bytes) -> Event:
        """Return the event that a value holds.

        Raises:
            UnknownSchemaError: the writer's schema is not known, or not yet.
            DecodeError: the bytes are no event; see the dead letters' reasons
                ``undecodable``, ``no_registry``, ``trailing_bytes``, ``unresolvable`` and
                ``invalid_json``.
        """
        if value.startswith(SINGLE_OBJECT):
            writer, start = self._schemas.writer_of(value), HEADER_LENGTH
        elif value.startswith(CONFLUENT):
            writer, start = self._registered(value), CONFLUENT_HEADER_LENGTH
        else:
            raise DecodeError("undecodable", "the value is in none of the two Avro framings")
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
    """Refuse times in another unit: Avro's resolution would take microseconds as they are."""
    for name in TIMES:
        unit = writer.logical_types.get(name, _MILLISECONDS)
        if unit != _MILLISECONDS:
            raise DecodeError("unresolvable", f"{name} is in {unit}, not in {_MILLISECONDS}")


def _event(fields: dict[str, Any]) -> Event:
    extra = _document(fields, "extra")
    if extra is not NOTHING and not isinstance(extra, dict):
        raise DecodeError("invalid_json", "extra is no JSON object")
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
