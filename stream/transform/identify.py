"""identify and delete: the end user as the event describes them, or no longer at all."""

from sink.wootric.operations import DeleteEndUser, UpsertEndUser
from stream.codec.event import Event
from stream.record import Deliver, Skip
from stream.transform.properties import read_properties
from stream.transform.result import Rules
from stream.transform.traits import as_object, read_created, read_phone, read_user


def identify(event: Event, rules: Rules) -> Deliver | Skip:
    """Return the end user to create or update, or a skip without an identity."""
    traits = as_object(event.traits, "traits")
    external_id, email = read_user(event, traits)
    phone_number = read_phone(traits)
    lane = external_id or email or phone_number
    if lane is None:
        return Skip("no_identity")
    external_created_at, notes = read_created(traits)
    operation = UpsertEndUser(
        email=email,
        external_id=external_id,
        phone_number=phone_number,
        external_created_at=external_created_at,
        properties=read_properties(traits, rules),
    )
    return Deliver(operation=operation, lane=lane, notes=notes)


def delete(event: Event, rules: Rules) -> Deliver | Skip:
    """Return the deletion of the end user, identified by the user id only."""
    if not rules.delete_users:
        return Skip("delete_disabled")
    external_id, email = read_user(event, {})
    if external_id is None:
        return Skip("no_identity")
    return Deliver(operation=DeleteEndUser(email=email, external_id=external_id), lane=external_id)
