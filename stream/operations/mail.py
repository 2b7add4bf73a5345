"""Letters read from their topic, and sent back: the parts that several commands share.

The bytes of letters are read again when they are sent, and not kept: there may be many.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from stream.errors import StartupError
from stream.kafka.config import KafkaConfig
from stream.kafka.sending import Sender
from stream.operations.analysis.dead_letters import (
    OPEN,
    Done,
    Kind,
    Letter,
    Place,
    Selection,
    outcome,
    read_letter,
    read_note,
)
from stream.operations.session import Desk, now_ms, watched
from stream.operations.terminal import say
from stream.state.ledger_codec import EventEntry

ALL = Selection()
NOTED_RECORDS_MAX = 100
"""How many letters may have been sent without a note of it."""


@dataclass(slots=True)
class Post:
    """The letters of one topic that are meant, and what was done about letters there.

    ``foreign`` is how many records were written by somebody else, or came from another input.
    """

    letters: list[Letter] = field(default_factory=list)
    notes: dict[Place, set[Done]] = field(default_factory=dict)
    foreign: int = 0

    def open(self) -> list[Letter]:
        """Return the letters about which nothing was done."""
        return [one for one in self.letters if one.place not in self.notes]

    def state(self, letter: Letter, receipts: Mapping[str, EventEntry] | None = None) -> str:
        """Return what was done about a letter, and how that ended if the ledger was asked."""
        done = self.notes.get(letter.place)
        known = receipts or {}
        ended = outcome(known[name] for name in letter.names if name in known)
        state = ", ".join(sorted(done)) if done else "replayed" if ended else OPEN
        return f"{state}: {ended}" if ended else state


def topic_of(config: KafkaConfig, kind: Kind) -> str:
    """Return the topic in which letters of a kind lie."""
    return config.dead_letter_topic if kind is Kind.DEAD else config.parked_topic


def read_post(
    desk: Desk,
    kind: Kind,
    selection: Selection = ALL,
    *,
    partition: int | None = None,
    named: bool = False,
) -> Post:
    """Return the letters that are meant, of one partition of their topic or of all.

    ``named`` lets them have the names of their replays, to ask the ledger for.

    Raises:
        StartupError: the topic has no such partition.
    """
    topic = topic_of(desk.config, kind)
    begins = desk.survey.begins(topic)
    if partition is not None and partition not in begins:
        raise StartupError(f"{topic} has no partition {partition}", exit_code=1)
    if partition is not None:
        begins = {partition: begins[partition]}
    post = Post()
    for record in watched(desk.survey.read(topic, begins=begins), f"records of {topic} read"):
        note = read_note(record)
        letter = None if note else read_letter(record, kind)
        if note is not None:
            post.notes.setdefault(note.place, set()).add(note.done)
        elif letter is None or letter.letter.origin.topic != desk.config.topic:
            post.foreign += 1
        elif selection.takes(letter):
            post.letters.append(letter.bare(names(desk, letter) if named else ()))
    return post


def letters_at(desk: Desk, kind: Kind, places: Collection[Place]) -> Iterator[Letter]:
    """Yield the letters at these places with their bytes, in the order of their topic."""
    begins: dict[int, int] = {}
    stops: dict[int, int] = {}
    for number, offset in places:
        begins[number] = min(offset, begins.get(number, offset))
        stops[number] = max(offset + 1, stops.get(number, 0))
    if not places:
        return
    for record in desk.survey.read(topic_of(desk.config, kind), begins=begins, stops=stops):
        letter = read_letter(record, kind)
        if letter is not None and letter.place in places:
            yield letter


def replay(
    desk: Desk,
    kind: Kind,
    places: Collection[Place],
    *,
    rate: float | None = None,
    force: bool = False,
) -> int:
    """Send letters back into the input, and note each; return how many.

    Killed in between, a few are sent and not noted: sent again, they are known by the ledger.

    Raises:
        StartupError: Kafka did not take them all.
    """
    config, done = desk.config, Done.FORCED if force else Done.REPLAYED
    sender = Sender(config, rate=rate, say=say)
    letters = letters_at(desk, kind, places)
    while chunk := list(islice(letters, NOTED_RECORDS_MAX)):
        sender.send(config.topic, (one.replay(force=force) for one in chunk))
        note(desk, kind, chunk, done)
    return sender.taken


def note(desk: Desk, kind: Kind, letters: Collection[Letter], done: Done, text: str = "") -> int:
    """Note what was done about letters; return how many notes there are."""
    at_ms = now_ms()
    notes = (one.note(done, at_ms=at_ms, text=text) for one in letters)
    sender = Sender(desk.config)
    sender.send(topic_of(desk.config, kind), notes)
    return sender.taken


def names(desk: Desk, letter: Letter) -> tuple[str, ...]:
    """Return what a replay of a letter is known by in the ledger, without and with force."""
    if letter.size is None:
        return ()
    plain, forced = (desk.judge(letter.replay(force=force)).event_id for force in (False, True))
    return (plain,) if plain == forced else (plain, forced)
