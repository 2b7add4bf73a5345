"""What waits for a schema, and what is fetched with one."""

import asyncio
from typing import Any

import pytest

from stream.codec.avro import HEADER_LENGTH, confluent_header
from stream.codec.event import Event, encode_event
from stream.errors import DecodeError
from stream.schema_registry.cache import RECHECK_S, SchemaCache, usable
from stream.schema_registry.client import (
    REFERENCES_MAX,
    NotRegisteredError,
    Registered,
    RegistryClient,
    RegistryUnavailableError,
)

BARE = encode_event(Event(type="identify", user_id="ada"))[HEADER_LENGTH:]


class Replies(RegistryClient):
    """A registry client with prepared replies by path."""

    def __init__(self, replies: dict[str, Any]) -> None:
        super().__init__("http://registry.example")
        self.replies = replies
        self.asked: list[str] = []

    async def _ask(self, *request: Any) -> Any:
        _, path = request
        self.asked.append(path)
        if path not in self.replies:
            raise NotRegisteredError("no such schema")
        return self.replies[path]


def reference(subject: str, version: int = 1) -> dict[str, Any]:
    return {"name": subject, "subject": subject, "version": version}


def path_of(subject: str, version: int = 1) -> str:
    return f"/subjects/{subject}/versions/{version}"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"{}",
        b"\x03\x00" + bytes(range(16)) + BARE,
        b"\x00" + (7).to_bytes(8, "big") + BARE,
        BARE,
        confluent_header(7) + b'{"type":"identify"}',
    ],
)
async def test_a_value_in_another_framing_waits_for_nothing(value):
    cache = SchemaCache(Replies({}), unknown_id_timeout_s=300)
    assert cache.missing(value) is None
    await cache.close()


async def test_a_value_with_an_unknown_id_waits():
    cache = SchemaCache(Replies({}), unknown_id_timeout_s=300)
    assert cache.missing(confluent_header(7) + BARE) == 7
    await cache.close()


@pytest.mark.parametrize(
    ("kind", "says"),
    [("JSON", "is JSON Schema: write plain JSON and use `bridge --from-topic`"),
     ("PROTOBUF", "is PROTOBUF, not Avro")],
)  # fmt: skip
def test_a_schema_of_another_kind_is_named(kind, says):
    found = usable(Registered(7, "{}", kind))
    assert isinstance(found, DecodeError)
    assert (found.reason, found.detail.startswith(f"schema 7 {says}")) == ("unresolvable", True)


async def test_references_are_fetched_through_and_come_before_their_users():
    client = Replies(
        {
            "/schemas/ids/7": {"schema": "root", "references": [reference("b"), reference("a")]},
            path_of("a"): {"id": 1, "schema": "a"},
            path_of("b"): {"id": 2, "schema": "b", "references": [reference("c"), reference("a")]},
            path_of("c"): {"id": 3, "schema": "c", "references": [reference("a")]},
        }
    )
    found = await client.schema(7)
    assert (found.text, found.referenced) == ("root", ("a", "c", "b"))
    assert len(client.asked) == 4


async def test_references_in_a_circle_end():
    client = Replies(
        {
            path_of("a"): {"id": 1, "schema": "a", "references": [reference("b")]},
            path_of("b"): {"id": 2, "schema": "b", "references": [reference("a")]},
        }
    )
    found = await client.version("a", 1)
    assert set(found.referenced) == {"a", "b"}


async def test_references_without_end_are_cut_off():
    class Endless(Replies):
        async def _ask(self, *request: Any) -> Any:
            self.asked.append(request[1])
            return {"id": 1, "schema": "a", "references": [reference("a", len(self.asked))]}

    client = Endless({})
    assert len((await client.schema(7)).referenced) == REFERENCES_MAX
    assert len(client.asked) == REFERENCES_MAX + 1


async def test_a_reference_that_is_not_there_yet_is_waited_for():
    client = Replies({"/schemas/ids/7": {"schema": "{}", "references": [reference("gone")]}})
    with pytest.raises(NotRegisteredError):
        await client.schema(7)


async def test_a_reference_without_a_version_is_no_reply():
    client = Replies({"/schemas/ids/7": {"schema": "{}", "references": [{"name": "a"}]}})
    with pytest.raises(RegistryUnavailableError):
        await client.schema(7)


class Registry:
    """One value with an unknown id, and what the cache says about it."""

    def __init__(self) -> None:
        self.client, self.now_s = Replies({}), 0.0
        self.cache = SchemaCache(self.client, unknown_id_timeout_s=0, clock=lambda: self.now_s)
        self.value = confluent_header(7) + BARE

    async def until_nothing_waits(self) -> None:
        while self.cache.missing(self.value) is not None:
            await asyncio.sleep(0)


async def test_an_id_that_was_given_up_is_waited_for_when_it_is_asked_for_again():
    """What is replayed after the schema was registered is decoded, from the first record on."""
    registry = Registry()
    await registry.until_nothing_waits()
    registry.client.replies["/schemas/ids/7"] = {"schema": '"string"'}
    assert registry.cache.missing(registry.value) is None
    registry.now_s = RECHECK_S + 1
    assert [registry.cache.missing(registry.value) for _ in range(2)] == [7, 7]
    await registry.until_nothing_waits()
    assert registry.cache.by_id(7) is not None
    await registry.cache.close()


async def test_an_id_that_was_given_up_holds_nothing_up_while_the_registry_is_away():
    registry = Registry()
    await registry.until_nothing_waits()
    registry.client.replies["/schemas/ids/7"] = {"schema": None}  # no reply of a registry
    registry.now_s = RECHECK_S + 1
    assert registry.cache.missing(registry.value) == 7
    await registry.until_nothing_waits()
    assert registry.cache.by_id(7) is None
    await registry.cache.close()
