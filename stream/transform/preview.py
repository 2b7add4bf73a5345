"""What would happen to an event, told without touching anything."""

from dataclasses import asdict
from typing import Any

from sink.wootric.operations import PageView, to_fields
from sink.wootric.pixel import pixel_request_url
from stream.codec.event import Event
from stream.errors import TransformError
from stream.transform import Deliver, Rules, Skip, transform
from stream.transform.explain import explain, why_skipped


def preview(
    event: Event,
    *,
    event_id: str,
    rules: Rules,
    account_token: str | None,
    pixel_url: str,
    explained: bool = False,
) -> dict[str, Any]:
    """Return the line that ``wootric-stream transform`` prints, with all five keys.

    Only a page view shows its request: any other begins with a look-up. ``explained`` adds
    a sixth key, with the origin of each field.
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
        line |= {"outcome": "reject", "reason": error.reason}
        return line | {"explain": {"reject": error.detail}} if explained else line
    match outcome:
        case Skip(reason):
            line |= {"outcome": "skip", "reason": reason}
            why = why_skipped(event, reason) if explained else ""
            return line | {"explain": {"skip": why}} if explained else line
        case Deliver(operation=operation):
            line["operation"] = to_fields(operation)
            if isinstance(operation, PageView):
                url = pixel_request_url(pixel_url, account_token=account_token, page=operation)
                line["request"] = {"method": "GET", "url": url}
            if explained:
                line["explain"] = asdict(explain(event, operation, rules))
            return line
