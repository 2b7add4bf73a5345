"""Whatever anybody sends: every payload has one of the ends that the reference lists."""

import json
import re
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from odd_payloads import SDKS, OddPayloads

from stream.bridge.payload import ReceivedEvent, Target, forward
from stream.codec.avro import all_packaged
from stream.codec.dead_letter import DeadLetter
from stream.codec.decode import Decoder
from stream.codec.event import SEGMENT_EVENT
from stream.codec.json_text import parse
from stream.engine.prepare import Invalid, prepare
from stream.operations.dry_run import preview_lines
from stream.record import Partition, Record
from stream.transform import Deliver, Rules, Skip, transform
from stream.transform.result import NOTES

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "reasons.md"
ROW = re.compile(r"^\| (\w+) \|\s*`?(\w*)`?\s*\|", re.MULTILINE)
KNOWN = set(ROW.findall(REFERENCE.read_text(encoding="utf-8")))
SOURCE = Partition("segment.json", 0)
DECODER = Decoder(all_packaged())
BYTES_MAX = 1_000_000
RULES = (
    Rules(),
    Rules(amount_suffix=True, delete_users=True, page_views=False),
    Rules(delete_users=True),
)


TARGET = Target(topic="segment.events", header=SEGMENT_EVENT.header, bytes_max=BYTES_MAX)


def ending(text: bytes, offset: int, rules: Rules) -> tuple[str, str, tuple[str, ...]]:
    """How a payload ends that comes through the bridge: outcome, reason, notes."""
    source = Record(SOURCE, offset, 1_700_000_000_000, b"key", text)
    found = forward(source, TARGET, 1)
    assert found is not None
    if isinstance(found, DeadLetter):
        assert found.value == text
        return "rejected", found.reason, ()
    assert isinstance(found, ReceivedEvent)
    record = Record(SOURCE, offset, 1_700_000_000_000, found.key, found.value)
    result = prepare(record, DECODER, partial(transform, rules=rules)).result
    match result:
        case Deliver():
            return "delivered", "", result.notes
        case Skip(reason, notes):
            return "skipped", reason, notes
        case Invalid(reason, detail):
            assert detail
            return "rejected", reason, ()


def count_endings(number: int, seed: int) -> Counter[tuple[str, str]]:
    odd, endings = OddPayloads(seed), Counter[tuple[str, str]]()
    for offset in range(number):
        text = odd.text()
        outcome, reason, notes = ending(text, offset, RULES[offset % len(RULES)])
        assert (outcome, reason) in KNOWN, text
        assert set(notes) <= set(NOTES), text
        endings[outcome, reason] += 1
    return endings


def check_endings(endings: Counter[tuple[str, str]], number: int) -> None:
    """Nothing is unaccounted, and the payloads reach what they are there to reach."""
    assert endings.total() == number
    outcomes = Counter[str]()
    for (outcome, _), count in endings.items():
        outcomes[outcome] += count
    assert min(outcomes[name] for name in ("delivered", "skipped", "rejected")) > number // 20
    reached = {reason for _, reason in endings}
    assert reached >= {
        "disabled", "unsupported_type", "no_identity", "no_url", "invalid_json", "invalid_email",
        "invalid_phone", "invalid_score", "invalid_user_id", "invalid_event", "traits_not_object",
        "properties_not_object", "context_not_object", "delete_disabled", "page_views_off",
    }  # fmt: skip


def test_odd_payloads_have_an_end_that_is_in_the_reference() -> None:
    check_endings(count_endings(2_000, 7), 2_000)


@pytest.mark.slow
def test_a_hundred_thousand_odd_payloads_have_an_end_that_is_in_the_reference() -> None:
    check_endings(count_endings(100_000, 8), 100_000)


@pytest.mark.parametrize("name", SDKS)
@pytest.mark.parametrize("kind", ["identify", "page", "track"])
def test_a_payload_of_an_sdk_is_no_dead_letter_unless_something_in_it_is_odd(
    name: str, kind: str
) -> None:
    odd = OddPayloads(9)
    for offset in range(20):
        document = SDKS[name](odd, kind)
        if name.endswith("php") and kind == "track":
            document["properties"], document["integrations"] = odd.answer(), odd.survey()
        outcome, reason, _ = ending(json.dumps(document).encode(), offset, Rules())
        assert outcome != "rejected", (reason, document)


def test_odd_payloads_are_explained_line_by_line() -> None:
    odd = OddPayloads(10)
    texts = [text for _ in range(500) if (text := one_line(odd.text()))]
    lines = [json.loads(line) for line in preview_lines((t + b"\n" for t in texts), explained=True)]
    assert len(lines) == len(texts) > 400
    for line in lines:
        assert set(line["explain"]) in ({"fields", "left_out"}, {line["outcome"]})


def one_line(text: bytes) -> bytes | None:
    """The payload in one line, as in a file of JSON Lines; None if it is none."""
    try:
        return json.dumps(parse(text)).encode()
    except ValueError:
        return None
