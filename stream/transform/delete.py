"""delete: the end user goes, where the settings allow it."""

from sink.wootric.operations import DeleteEndUser
from stream.event import Event
from stream.transform.fields import read_user
from stream.transform.outcome import Deliver, Rules, Skip


def delete(event: Event, rules: Rules) -> Deliver | Skip:
    """Return the end user to delete; only the user id names them."""
    if not rules.delete_users:
        return Skip("delete_disabled")
    external_id, email = read_user(event, {})
    if external_id is None:
        return Skip("no_identity")
    return Deliver(operation=DeleteEndUser(email=email, external_id=external_id), lane=external_id)
