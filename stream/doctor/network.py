"""Checks of names, connections and certificates, without the clients that use them."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from stream.doctor.result import CONFIGURATION, UNAVAILABLE, CheckResult, failed, ok, warning

CONNECT_S = 5.0
DAY_S = 86_400
EXPIRES_SOON_DAYS = 14


class Address(NamedTuple):
    """Host and port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``."""
        return f"{self.host}:{self.port}"


def check_address(
    name: str, address: Address, *, tls: bool, properties: Mapping[str, Any]
) -> Iterator[CheckResult]:
    """Yield the results for a server: its name, a connection, its certificate.

    ``properties`` are librdkafka's; those that name certificate files apply.
    """
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except OSError as error:
        text = f"{address.host} has no address: {error.strerror}"
        fix = "check the name, and the DNS resolver of this machine or pod"
        yield failed(f"{name} dns", text, fix, exit_code=UNAVAILABLE)
        return
    addresses = sorted({str(entry[4][0]) for entry in found})
    yield ok(f"{name} dns", f"{address.host} is {', '.join(addresses[:4])}")
    try:
        plain = socket.create_connection(address, timeout=CONNECT_S)
    except OSError as error:
        text = f"{address} accepts no connection: {error.strerror or 'no answer'}"
        fix = "check port, firewall and network policy"
        yield failed(f"{name} tcp", text, fix, exit_code=UNAVAILABLE)
        return
    with plain:
        yield ok(f"{name} tcp", f"{address} accepts connections")
        if tls:
            yield _certificate(f"{name} tls", plain, address, properties)


@contextmanager
def connect(
    address: Address, *, tls: bool, properties: Mapping[str, Any]
) -> Iterator[socket.socket]:
    """Open a connection, with TLS if ``tls``, and close it at the end.

    Raises:
        OSError: the connection fails.
    """
    with socket.create_connection(address, timeout=CONNECT_S) as plain:
        if not tls:
            yield plain
            return
        with _context(properties).wrap_socket(plain, server_hostname=address.host) as secure:
            yield secure


def _certificate(
    check: str, plain: socket.socket, address: Address, properties: Mapping[str, Any]
) -> CheckResult:
    of_kafka = check.startswith("kafka")
    trusted = "ssl.ca.location in KAFKA__PROPERTIES" if of_kafka else "SSL_CERT_FILE"
    try:
        secure = _context(properties).wrap_socket(plain, server_hostname=address.host)
    except (OSError, ValueError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        fix = f"check {trusted}, the name in the certificate, and that the port speaks TLS"
        text = f"the certificate of {address} is not trusted: {reason}"
        return failed(check, text, fix, exit_code=UNAVAILABLE)
    with secure:
        certificate = secure.getpeercert() or {}
        version = secure.version()
    ends = certificate.get("notAfter")
    days = (ssl.cert_time_to_seconds(str(ends)) - time.time()) / DAY_S if ends else None
    if days is not None and days < EXPIRES_SOON_DAYS:
        text = f"the certificate of {address} expires in {days:.0f} days"
        return warning(check, text, "renew it")
    expiry = "" if days is None else f", its certificate expires in {days:.0f} days"
    return ok(check, f"{address} speaks {version}{expiry}")


def _context(properties: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"))
    if properties.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    if str(properties.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = properties.get("ssl.certificate.location")
    if certificate:
        context.load_cert_chain(
            certificate, properties.get("ssl.key.location"), properties.get("ssl.key.password")
        )
    return context


# The broker's version, from ApiVersions: the only request that needs no login


FETCH, OFFSET_FETCH, API_VERSIONS, TXN_OFFSET_COMMIT = 1, 9, 18, 28
# Source: KIP-447, in 2.5: offsets in transactions are fenced by the group's generation from
# TxnOffsetCommit 3 on, and stable offsets can be requested from OffsetFetch 7 on. KIP-896: 4.0
# removed Fetch 0 to 3.
NEEDED = {TXN_OFFSET_COMMIT: 3, OFFSET_FETCH: 7}


def check_version(
    address: Address, *, tls: bool, properties: Mapping[str, Any]
) -> Iterator[CheckResult]:
    """Yield whether the broker is new enough for exactly-once."""
    check = "kafka version"
    try:
        found = _api_versions(address, tls=tls, properties=properties)
    except (OSError, struct.error):
        fix = "check that the port is a Kafka listener, and security.protocol in KAFKA__PROPERTIES"
        yield warning(check, f"{address} does not report its API versions", fix)
        return
    if any(found.get(key, (0, -1))[1] < least for key, least in NEEDED.items()):
        fix = "use Apache Kafka 2.5 or newer: offsets in transactions must be fenced (KIP-447)"
        yield failed(check, f"{address} is too old", fix, exit_code=CONFIGURATION)
    else:
        age = "4.0 or newer" if found[FETCH][0] >= 4 else "2.5 to 3.9"
        yield ok(check, f"{address} speaks the protocol of Apache Kafka {age}")


def _api_versions(
    address: Address, *, tls: bool, properties: Mapping[str, Any]
) -> dict[int, tuple[int, int]]:
    """Return the lowest and highest supported version by API key."""
    with connect(address, tls=tls, properties=properties) as connection:
        request = struct.pack(">hhih", API_VERSIONS, 0, 1, -1)
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _read(connection, 4))
        body = _read(connection, min(size, 1_000_000))
    _, _, count = struct.unpack_from(">ihi", body)
    triples = struct.iter_unpack(">hhh", body[10 : 10 + 6 * count])
    return {key: (lowest, highest) for key, lowest, highest in triples}


def _read(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionError
        parts += part
    return parts
