"""The broker's version, as far as its protocol tells: the one question that needs no login."""

import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from stream.doctor.network import Address, connect
from stream.doctor.result import CONFIGURATION, Diagnosis, doubtful, failed, fine

FETCH, OFFSET_FETCH, API_VERSIONS, TXN_OFFSET_COMMIT = 1, 9, 18, 28
# Source: KIP-447, in 2.5: offsets in transactions are fenced by the group's generation from
# TxnOffsetCommit 3 on, and stable offsets can be asked for from OffsetFetch 7 on. KIP-896: 4.0
# took Fetch 0 to 3 away.
NEEDED = {TXN_OFFSET_COMMIT: 3, OFFSET_FETCH: 7}


def look_at_version(
    address: Address, *, tls: bool, properties: Mapping[str, Any]
) -> Iterator[Diagnosis]:
    """Yield whether the broker has what exactly-once needs."""
    check = "kafka version"
    try:
        found = _api_versions(address, tls=tls, properties=properties)
    except (OSError, struct.error):
        mend = "check that the port is a Kafka listener, and security.protocol in KAFKA__PROPERTIES"
        yield doubtful(check, f"{address} does not tell its protocol's versions", mend)
        return
    if any(found.get(key, (0, -1))[1] < least for key, least in NEEDED.items()):
        mend = "use Apache Kafka 2.5 or newer: offsets in transactions must be fenced (KIP-447)"
        yield failed(check, f"{address} is too old", mend, exit_code=CONFIGURATION)
    else:
        age = "4.0 or newer" if found[FETCH][0] >= 4 else "2.5 to 3.9"
        yield fine(check, f"{address} speaks the protocol of Apache Kafka {age}")


def _api_versions(
    address: Address, *, tls: bool, properties: Mapping[str, Any]
) -> dict[int, tuple[int, int]]:
    """Return the lowest and highest version of every request that the broker knows."""
    with connect(address, tls=tls, properties=properties) as link:
        request = struct.pack(">hhih", API_VERSIONS, 0, 1, -1)
        link.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _read(link, 4))
        body = _read(link, min(size, 1_000_000))
    _, _, count = struct.unpack_from(">ihi", body)
    triples = struct.iter_unpack(">hhh", body[10 : 10 + 6 * count])
    return {key: (lowest, highest) for key, lowest, highest in triples}


def _read(link: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = link.recv(size - len(parts))
        if not part:
            raise ConnectionError
        parts += part
    return parts
