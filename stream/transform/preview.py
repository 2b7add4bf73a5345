"""What would happen to an event, told without touching anything."""

from typing import Any

from sink.wootric.operations import PageView, to_fields
from sink.wootric.pixel import pixel_request_url
from stream.errors import TransformError
from stream.event import Event
from stream.transform import Deliver, Rules, Skip, transform


def preview(
    event: Event,
    *,
    event_id: str,
    rules: Rules,
    account_token: str | None,
    pixel_url: str,
) -> dict[str, Any]:
    """Return the line that ``wootric-stream transform`` prints, with all five keys.

    Only a page view shows its request: any other begins with a look-up.
    """
    line: dict[str, Any] = {
        "message_id": event.message_id,
        "outcome": "deliver",
        "reason": None,
        "operation": None,
        "request": None,
    }
    try:
        outcome = transform(event, event_id=event_id, rules=rules)
    except TransformError as error:
        return line | {"outcome": "reject", "reason": error.reason}
    match outcome:
        case Skip(reason):
            return line | {"outcome": "skip", "reason": reason}
        case Deliver(operation=operation):
            line["operation"] = to_fields(operation)
            if isinstance(operation, PageView):
                url = pixel_request_url(pixel_url, account_token=account_token, page=operation)
                line["request"] = {"method": "GET", "url": url}
            return line
