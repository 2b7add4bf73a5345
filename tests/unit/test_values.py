"""Values are immutable, and what the garbage collector does not track cannot be in a cycle."""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from msgspec import Struct
from multidict import CIMultiDict

import sink
import stream
from sink.classify import Executed, RejectedByServer, Throttled
from sink.delivery import Operation
from sink.models import HttpResponse, Request
from stream.engine.lanes import Lane, PendingRequest
from stream.engine.scheduler import QueueEntry
from stream.record import Partition

for package in (sink, stream):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.startswith("stream.devtools") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)

STATE: tuple[type[Struct], ...] = (Lane, PendingRequest, QueueEntry)
"""What lives: the requests of a lane move from state to state."""
LEAVES = {Any, bool, bytes, float, int, object, str, NoneType, Partition, Operation}
"""Types without a reference to anything else; ``Any`` is a value of JSON, ``Operation`` is one of
the structs of a destination."""
TREES = (Mapping, tuple, list, dict)


def structs(base: type[Struct] = Struct) -> Iterator[type[Struct]]:
    for kind in base.__subclasses__():
        if kind.__module__.partition(".")[0] in ("sink", "stream"):
            yield kind
        yield from structs(kind)


STRUCTS = sorted(set(structs()), key=lambda kind: f"{kind.__module__}.{kind.__name__}")
UNTRACKED = [kind for kind in STRUCTS if not kind.__struct_config__.gc]


def is_tree(hint: Any) -> bool:
    """Return whether no value of a type can refer back to what holds it."""
    origin = get_origin(hint)
    if origin in (Union, UnionType) or origin in TREES:
        return all(part is ... or is_tree(part) for part in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Struct):
        return not hint.__struct_config__.gc
    if isinstance(hint, type) and issubclass(hint, Enum):
        return True
    if isinstance(hint, type) and issubclass(hint, tuple) and hint not in LEAVES:
        return all(is_tree(part) for part in get_type_hints(hint).values())
    return hint in LEAVES


def test_all_values_are_found():
    assert len(UNTRACKED) > 25
    assert set(STATE) < set(STRUCTS)


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_a_value_is_immutable(kind):
    assert kind.__struct_config__.frozen is (kind not in STATE)


def test_a_field_of_a_value_cannot_be_set():
    reply = Executed(200, b"")
    with pytest.raises(AttributeError, match="immutable"):
        reply.status = 404
    with pytest.raises(AttributeError):
        reply.other = 1


@pytest.mark.parametrize("kind", UNTRACKED, ids=lambda kind: kind.__name__)
def test_what_is_not_tracked_refers_only_to_what_is_finished_before_it(kind):
    hints = get_type_hints(kind)
    assert not [name for name in kind.__struct_fields__ if not is_tree(hints[name])]


@pytest.mark.parametrize(
    "hint", [Lane, Counter, Callable[[], bool], Sequence[PendingRequest], list[Lane], "Delivery"]
)
def test_what_may_be_in_a_cycle_is_no_tree(hint):
    assert not is_tree(hint)


def test_a_struct_is_no_dataclass():
    """Of two kinds of values, each has its own ``replace``."""
    assert not [kind for kind in STRUCTS if is_dataclass(kind) and fields(kind)]


@pytest.mark.parametrize(
    "value",
    [
        HttpResponse(200, CIMultiDict({"X-Of": "ann@example.com"}), b"ann@example.com"),
        Executed(200, b"ann@example.com"),
        RejectedByServer(422, b"ann@example.com"),
        Throttled(429, CIMultiDict({"X-Of": "ann@example.com"})),
        Request("find", "GET", "https://example.com/ann@example.com", b"ann@example.com"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_representation_has_no_personal_data(value):
    assert "ann" not in repr(value)
    assert type(value).__name__ in repr(value)
