"""From a Segment call to the bytes that Wootric gets: the table in tests/cases decides."""

import json
from pathlib import Path
from typing import Any

import pytest
from sink_world import world

from stream.codec.event import event_from_json
from stream.transform import Deliver, Rules, transform

CASES = json.loads(
    (Path(__file__).parents[1] / "cases" / "requests.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
async def test_an_event_asks_wootric_for_what_the_case_says(case: dict[str, Any]) -> None:
    event = event_from_json(case["event"])
    verdict = transform(event, event_id="m-1", rules=Rules(**case.get("rules", {})))
    assert isinstance(verdict, Deliver)
    async with world() as here:
        held = here.hold(**case["holds"]) if "holds" in case else None
        await here.deliver(verdict.operation, known=held if case.get("known") else None)
        asked = [
            f"{entry.method} {entry.path}"
            + (f"?{entry.query}" if entry.query else "")
            + (f" {entry.form}" if entry.form else "")
            for entry in here.wootric.journal.entries
            if entry.path != "/oauth/token"
        ]
    assert asked == case["requests"]
