"""What waits for its schema, and what waits behind it."""

from dataclasses import dataclass

from stream.record import Partition
from stream.runtime.flow_control import SchemaWaitQueue

ONE, OTHER = Partition("t", 0), Partition("t", 1)


@dataclass
class Told:
    """What the client hands over: a record with a value, or the end of a partition."""

    text: bytes | None = None

    def value(self) -> bytes | None:
        return self.text

    def error(self) -> str | None:
        return "end of partition" if self.text is None else None


def missing(known: set[bytes]):
    """A record waits for the schema that it is named after."""
    return lambda value: None if value is None or value in known else value[0]


def test_nothing_of_a_partition_overtakes_what_waits_and_others_go_on():
    holds = SchemaWaitQueue(missing({b"a"}))
    messages = [Told(b"a"), Told(b"b"), Told(b"a"), Told(None), Told(b"c")]
    assert [holds.add(ONE, message) for message in messages] == [False, True, True, True, True]
    assert not holds.add(OTHER, Told(b"a"))
    assert not holds.add(OTHER, Told(None))
    assert holds.waiting == {ONE: ord("b")}
    assert len(holds) == 4
    assert holds.drop(ONE) == messages[1:]


def test_it_is_released_in_order_once_the_first_waits_no_longer():
    known: set[bytes] = set()
    holds = SchemaWaitQueue(missing(known))
    messages = [Told(b"a"), Told(b"b"), Told(None)]
    for message in messages:
        holds.add(ONE, message)
    known.add(b"b")
    assert holds.release(ONE) == []
    known.add(b"a")
    assert holds.release(ONE) == messages
    assert ONE not in holds
    assert holds.release(ONE) == []


def test_every_id_is_asked_for_at_once():
    """Many unknown ids are waited for together, not one after the other."""
    asked: list[bytes | None] = []
    holds = SchemaWaitQueue(lambda value: asked.append(value) or 1)
    for text in (b"a", b"b", b"c"):
        holds.add(ONE, Told(text))
    assert asked == [b"a", b"b", b"c"]


def test_without_a_registry_nothing_waits():
    assert not SchemaWaitQueue(None).add(ONE, Told(b"a"))
