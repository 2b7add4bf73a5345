"""dlq show: all that is known of one dead letter."""

from pathlib import Path
from typing import Any, assert_never

from stream.codec.json_text import dump
from stream.engine.prepare import Refuse
from stream.errors import RecordError, StartupError
from stream.operations.analysis.dead_letters import Kind, Letter, Place, Selection
from stream.operations.mail import letters_at, read_post
from stream.operations.output import Table, letter_document, show
from stream.operations.session import Desk
from stream.transform import Deliver, Skip


def show_letter(desk: Desk, place: Place, *, raw: Path | None, as_json: bool) -> None:
    """Print a letter: its headers, its event where it can be read, what a replay would do.

    Raises:
        StartupError: there is no such letter, or the file cannot be written.
    """
    letter = _letter(desk, place)
    selection = Selection(places={place})
    post = read_post(desk, Kind.DEAD, selection, partition=place.partition, named=True)
    state = post.state(post.letters[0], desk.receipts(post.letters[0].names))
    headers = {name: value.decode() for name, value in letter.letter.headers()}
    event = _event(desk, letter)
    document = {
        **letter_document(letter, state),
        "headers": headers,
        "event": event,
        "replay_now": _verdict(desk, letter),
    }
    parts: list[Table | str] = [
        Table(f"dead letter {place}: {state}", ("", ""), list(headers.items())),
        Table(
            "its event",
            ("", ""),
            [
                (name, value if isinstance(value, str) else dump(value))
                for name, value in (event or {}).items()
            ],
        ),
        *([] if event else ["its bytes cannot be read as an event"]),
        f"a replay would now be {document['replay_now']}",
    ]
    if raw is not None:
        _write(raw, letter.letter.value or b"")
        parts.append(f"{letter.size or 0} bytes were written to {raw}")
    show(document, parts, as_json=as_json)


def _letter(desk: Desk, place: Place) -> Letter:
    topic = desk.config.dead_letter_topic
    begins, ends = desk.survey.begins(topic), desk.survey.ends(topic)
    number, offset = place
    if number not in begins or not begins[number] <= offset < ends[number]:
        raise StartupError(f"{topic} has no record at {place}: see `dlq list`", exit_code=1)
    letter = next(iter(letters_at(desk, Kind.DEAD, {place})), None)
    if letter is None:
        raise StartupError(f"the record at {place} of {topic} is no dead letter", exit_code=1)
    return letter


def _event(desk: Desk, letter: Letter) -> dict[str, Any] | None:
    """Return the event's fields that say something; None if the bytes are no event."""
    try:
        event = desk.decoder.decode(letter.letter.value or b"")
    except RecordError:
        return None
    return {
        name: dict(value) if name == "extra" else value
        for name in event.__slots__
        if (value := getattr(event, name)) or value == 0
    }


def _verdict(desk: Desk, letter: Letter) -> str:
    if letter.letter.value is None:
        return "impossible: its bytes are gone"
    verdict = desk.judge(letter.replay()).verdict
    match verdict:
        case Deliver(operation=operation):
            return f"sent to Wootric: {operation.type}"
        case Skip(reason):
            return f"skipped: {reason}"
        case Refuse(reason, detail):
            return f"rejected again: {reason}, {detail}"
        case _:
            assert_never(verdict)


def _write(file: Path, value: bytes) -> None:
    try:
        file.write_bytes(value)
    except OSError as error:
        raise StartupError(f"{file} cannot be written: {error.strerror}", exit_code=66) from error
