"""What would become of Segment events: the lines that `wootric-stream transform` prints."""

import hashlib
from collections.abc import Iterable, Iterator

import orjson

from stream.codec.json_text import parse
from stream.codec.segment import event_from_json
from stream.settings_loader import load_transform
from stream.transform import Rules
from stream.transform.preview import preview


def preview_lines(lines: Iterable[bytes], *, explained: bool = False) -> Iterator[bytes]:
    """Yield one JSON line for every line that is not empty.

    ``explained`` adds where each field comes from.
    """
    settings = load_transform()
    rules = Rules(amount_suffix=settings.amount_suffix, delete_users=settings.delete_users)
    token = settings.account_token
    account_token = None if token is None else token.get_secret_value()
    for raw in lines:
        line = raw.strip()
        if line:
            shown = _preview(line, rules, account_token, settings.pixel_url, explained=explained)
            yield orjson.dumps(shown)


def _preview(
    line: bytes, rules: Rules, account_token: str | None, pixel_url: str, *, explained: bool
) -> dict[str, object]:
    try:
        document = parse(line)
    except ValueError:
        return _refused("invalid_json")
    if not isinstance(document, dict):
        return _refused("not_an_object")
    event = event_from_json(document)
    name = event.message_id or hashlib.blake2b(line, digest_size=16).hexdigest()
    return preview(
        event,
        event_id=name,
        rules=rules,
        account_token=account_token,
        pixel_url=pixel_url,
        explained=explained,
    )


def _refused(reason: str) -> dict[str, object]:
    return {
        "message_id": None,
        "outcome": "reject",
        "reason": reason,
        "operation": None,
        "request": None,
    }
