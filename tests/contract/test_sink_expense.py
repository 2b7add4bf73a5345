"""What the flow reckons with is what the sink asks for."""

import pytest
from msgspec.structs import replace
from sink_world import DECLINE, DELETE, PAGE, RESPONSE, UPSERT, world

from sink.delivery import Operation

BARE_RESPONSE = replace(RESPONSE, properties={})
BARE_PAGE = replace(PAGE, created_at=None)
OPERATIONS = [UPSERT, PAGE, BARE_PAGE, RESPONSE, BARE_RESPONSE, DECLINE, DELETE]


def name_of(operation: Operation) -> str:
    return operation.type


@pytest.mark.parametrize("in_doubt", [False, True])
@pytest.mark.parametrize("acquaintance", ["held", "without profile", "nobody"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
async def test_a_delivery_takes_as_many_requests_as_were_reckoned(
    operation: Operation, acquaintance: str, in_doubt: bool
) -> None:
    """With the person as known, or unknown and absent; in doubt, with the effect not there."""
    async with world() as here:
        held = here.hold() if acquaintance != "nobody" else None
        if held is not None and acquaintance == "without profile":
            held = replace(held, properties=None)
        await here.deliver(operation, known=held, in_doubt=in_doubt)
        asked = len(here.requests(path="/v1/"))
        reckoned = operation.estimated_requests(held, in_doubt=in_doubt)
    if operation is DELETE and held is None:
        asked += 1  # nobody was there to be deleted
    assert asked <= reckoned
    if not in_doubt:
        assert asked == reckoned
