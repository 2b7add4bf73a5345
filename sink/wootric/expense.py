"""What a delivery will ask of the API, as far as it can be told beforehand. Pure."""

from sink.wootric.delivery import EndUser
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    Operation,
    PageView,
    UpsertEndUser,
)


def needs_lookup(page: PageView, known: EndUser | None) -> bool:
    """Whether the person behind a page view has to be looked up before it is reported."""
    return known is None and (page.email is None or page.created_at is None)


def api_requests(operation: Operation, known: EndUser | None, *, in_doubt: bool = False) -> int:
    """Return how many API requests the delivery takes when nothing unusual comes up.

    What is in doubt is looked for first, a survey in a list that ends with an empty page.
    """
    strange = known is None or known.id is None
    blind = strange or (known is not None and known.properties is None)
    match operation:
        case PageView():
            return 1 if needs_lookup(operation, known) else 0
        case UpsertEndUser():
            return 2 if blind or in_doubt else 1
        case CreateResponse() | CreateDecline():
            if strange or in_doubt:
                return 3 + (strange and in_doubt)
            return 2 if operation.properties and blind else 1
        case DeleteEndUser():
            return 2
