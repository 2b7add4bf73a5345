"""The demo's comparison: it has to see what is lost, what is there twice, and what is parked."""

from collections import Counter
from dataclasses import replace
from functools import partial

import orjson
import pytest

from stream.codec.avro import all_packaged
from stream.codec.decode import Decoder
from stream.devtools.demo_report import (
    ActualState,
    DemoReport,
    User,
    compare,
    differences,
    expect,
    lines,
    print_document,
    print_report,
)
from stream.devtools.traffic import traffic
from stream.engine.prepare import PreparedRecord, prepare
from stream.kafka.producer import record_of
from stream.record import Partition, Record
from stream.transform import Rules, transform


@pytest.fixture(scope="module")
def judged() -> list[PreparedRecord]:
    judge = partial(
        prepare, decoder=Decoder(all_packaged()), transform=partial(transform, rules=Rules())
    )
    found = []
    for offset, sample in enumerate(traffic(events=1_000, seed=3)):
        value = sample.value
        if isinstance(value, dict):
            _, value = record_of(orjson.dumps(value))
        found.append(judge(Record(Partition("x", 0), offset, 0, None, value)))
    return found


def copied(world: ActualState) -> ActualState:
    users = {
        name: User(user.email, user.created_at, dict(user.properties))
        for name, user in world.users.items()
    }
    return ActualState(
        users,
        Counter(world.responses),
        Counter(world.declines),
        Counter(world.page_views),
        Counter(world.pixels),
    )


def verdicts(judged, held, *, letters=None, parked=(), receipts=None):
    expected = expect(judged)
    letters = expected.dead_letters if letters is None else letters
    receipts = expected.asked if receipts is None else receipts
    rows = compare(expected, held, dead_letters=letters, parked_pixels=parked, receipts=receipts)
    told = differences(expected, held, parked_pixels=parked, dead_letters=letters)
    return {row.kind for row in rows if not row.agrees}, told


def test_a_world_as_it_should_be_agrees(judged):
    assert verdicts(judged, copied(expect(judged).world)) == (set(), [])


@pytest.mark.parametrize(
    ("attribute", "kind"),
    [("responses", "responses"), ("declines", "declines"), ("pixels", "page views")],
)
@pytest.mark.parametrize(("change", "word"), [(-1, "missing"), (1, "too many")])
def test_one_too_many_or_too_few_is_seen_and_named_by_its_message_id(
    judged, attribute, kind, change, word
):
    held = copied(expect(judged).world)
    counter = getattr(held, attribute)
    counter[next(iter(counter))] += change
    setattr(held, attribute, +counter)
    kinds, told = verdicts(judged, held)
    assert kinds == {kind}
    assert len(told) == 1
    assert told[0].endswith(f": {kind}, {word}")
    assert told[0].split(":")[0] in expect(judged).asked


def test_a_parked_page_view_excuses_itself_and_no_other(judged):
    held = copied(expect(judged).world)
    lost, other = list(held.pixels)[:2]
    del held.pixels[lost]
    assert verdicts(judged, held, parked={lost}) == (set(), [])
    assert verdicts(judged, held, parked={other})[0] == {"page views"}


def test_a_profile_that_differs_is_told_without_its_values(judged):
    held = copied(expect(judged).world)
    user = next(user for user in held.users.values() if user.properties)
    user.properties["plan"] = "another"
    kinds, told = verdicts(judged, held)
    assert kinds == {"end users"}
    assert told[0].endswith("end users, properties")
    assert "another" not in told[0]


def test_dead_letters_are_compared_by_their_bytes(judged):
    expected = expect(judged)
    letters = Counter(expected.dead_letters)
    first = next(iter(letters))
    letters[first] -= 1
    letters[first + b"!"] += 1
    kinds, told = verdicts(judged, copied(expected.world), letters=+letters)
    assert kinds == {"dead letters"}
    assert len(told) == 2


def test_an_event_without_a_receipt_is_seen(judged):
    expected = expect(judged)
    receipts = dict(expected.asked)
    gone, kind = receipts.popitem()
    assert gone
    assert verdicts(judged, copied(expected.world), receipts=receipts)[0] == {kind}


AGREES = DemoReport(
    events=10, took_s=2.0, rows=(), differences=(), outcomes={"responses": 3}, skips={},
    requests=8, lost_replies=1, parked=0, in_doubt=0, recovery_s=[1.25, None],
    latencies_s=[0.1, 0.2], exit_code=0,
)  # fmt: skip


def test_the_last_line_says_that_it_agrees():
    assert lines(AGREES)[-1] == "in and out agree: 10 events, nothing lost, nothing twice"
    assert any("1.2 s, none seen" in line for line in lines(AGREES))


@pytest.mark.parametrize(
    "change", [{"in_doubt": 1}, {"exit_code": 75}, {"exit_code": None}, {"differences": ["x: y"]}]
)
def test_whatever_is_left_open_does_not_agree(change, capsys):
    report = replace(AGREES, **change)
    assert print_report(report) is False
    assert "IN AND OUT DIFFER" in capsys.readouterr().out.splitlines()[-1]


def test_a_program_can_read_it_too(judged, capsysbinary):
    """With what a run really counts."""
    expected = expect(judged)
    report = replace(AGREES, outcomes=expected.outcomes, skips=expected.skips)
    assert print_document(report) is True
    document = orjson.loads(capsysbinary.readouterr().out)
    assert document["agrees"] is True
    assert document["latencies_s"] == {"p50": 0.2, "p99": 0.2}
    assert sum(document["outcomes"].values()) == sum(expected.outcomes.values())
