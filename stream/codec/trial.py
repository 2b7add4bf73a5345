"""Whether the values of a writer's schema can be read: tried on one value of each kind. Pure."""

from collections.abc import Iterator
from typing import Any

from stream.codec.avro import Schema, Schemas, encode_single_object
from stream.codec.decode import Decoder
from stream.errors import DecodeError

_PLAIN: dict[str, Any] = {
    "null": None,
    "boolean": False,
    "int": 0,
    "long": 0,
    "float": 0.0,
    "double": 0.0,
    "bytes": b"{}",
    "string": "{}",  # some texts have to be JSON
}


def try_to_read(writer: Schema) -> None:
    """Decode values of a schema, so many that every branch of its unions was in one.

    Raises:
        DecodeError: one of them is no event.
    """
    decoder = Decoder(Schemas([writer]))
    parts = list(_parts(writer.plain))
    named = {part["name"]: part for part in parts if isinstance(part, dict) and "name" in part}
    branches = max(len(part) if isinstance(part, list) else 1 for part in parts)
    for turn in range(branches):
        decoder.decode(encode_single_object(writer, _value(writer.plain, turn, named)))


def _parts(schema: Any) -> Iterator[Any]:
    """Yield a parsed schema, and all that it is made of."""
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


def _value(  # noqa: PLR0911  one case a kind of schema
    schema: Any, turn: int, named: dict[str, Any]
) -> Any:
    """Return a value of a parsed schema; of a union, the branch whose turn it is.

    Raises:
        DecodeError: it has none.
    """
    match schema:
        case list() if schema:
            return _value(schema[turn % len(schema)], turn, named)
        case {"fields": fields}:
            return {field["name"]: _value(field["type"], turn, named) for field in fields}
        case {"type": "array", "items": items}:
            return [_value(items, turn, named)]
        case {"type": "map", "values": values}:
            return {"a": _value(values, turn, named)}
        case {"type": "enum", "symbols": [symbol, *_]}:
            return symbol
        case {"type": "fixed", "size": size}:
            return bytes(size)
        case {"type": kind} if kind != "enum":
            return _value(kind, turn, named)
        case str() if schema in _PLAIN:
            return _PLAIN[schema]
        case str() if schema in named:
            return _value(named[schema], turn, named)
        case _:
            raise DecodeError("unresolvable", f"no value is of {schema}")
