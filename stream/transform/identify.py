"""identify and delete: the end user as the event describes them, or no longer at all."""

from sink.wootric.operations import DeleteEndUser, UpsertEndUser
from stream.codec.event import Event
from stream.record import Deliver, Skip
from stream.transform.properties import read_properties
from stream.transform.result import Rules
from stream.transform.traits import read_created, read_phone, read_user, user_traits


def identify(event: Event, rules: Rules) -> Deliver | Skip:
    """Return the end user to create or update, or a skip without an identity."""
    traits = user_traits(event)
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
    """Return the deletion of the end user, or a skip without a user id and an e-mail."""
    if not rules.delete_users:
        return Skip("delete_disabled")
    external_id, email = read_user(event, user_traits(event))
    lane = external_id or email
    if lane is None:
        return Skip("no_identity")
    return Deliver(operation=DeleteEndUser(email=email, external_id=external_id), lane=lane)
