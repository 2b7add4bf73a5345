"""Removing a static member from its group, as an operator's tool does: at once, unasked.

The Python client has no call for it, so the request is written by hand: LeaveGroup, version 3.
Source: the Kafka protocol guide, "LeaveGroup API (Key: 13)".
"""

import socket
import struct

from confluent_kafka.admin import AdminClient
from waiting import STILL_S

LEAVE_GROUP, VERSION = 13, 3


def remove_member(servers: str, group: str, instance: str) -> None:
    """Let the group forget a member; it is told so at its next heartbeat.

    Raises:
        AssertionError: no broker knows the member.
    """
    brokers = AdminClient({"bootstrap.servers": servers}).list_topics(timeout=STILL_S).brokers
    codes = [_ask(broker.host, broker.port, group, instance) for broker in brokers.values()]
    assert 0 in codes, codes


def _ask(host: str, port: int, group: str, instance: str) -> int:
    """Return the error code of one broker's answer, the member's or the group's."""
    head = struct.pack(">hhi", LEAVE_GROUP, VERSION, 1) + _text("operator")
    body = _text(group) + struct.pack(">i", 1) + _text("") + _text(instance)
    with socket.create_connection((host, port), timeout=STILL_S) as connection:
        connection.sendall(struct.pack(">i", len(head + body)) + head + body)
        with connection.makefile("rb") as answers:
            (length,) = struct.unpack(">i", answers.read(4))
            answer = answers.read(length)
    # correlation id, throttle time, the group's error, then one member: its ids and its error
    of_group, of_member = struct.unpack_from(">h", answer, 8)[0], 0
    if len(answer) > 14:
        of_member = struct.unpack(">h", answer[-2:])[0]
    return int(of_group or of_member)


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()
