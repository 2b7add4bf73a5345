"""delete: deletes the end user, if the settings allow it."""

from sink.wootric.operations import DeleteEndUser
from stream.codec.event import Event
from stream.transform.result import Deliver, Rules, Skip
from stream.transform.traits import read_user


def delete(event: Event, rules: Rules) -> Deliver | Skip:
    """Return the deletion of the end user, identified by the user id only."""
    if not rules.delete_users:
        return Skip("delete_disabled")
    external_id, email = read_user(event, {})
    if external_id is None:
        return Skip("no_identity")
    return Deliver(operation=DeleteEndUser(email=email, external_id=external_id), lane=external_id)
