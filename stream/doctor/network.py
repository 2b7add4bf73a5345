"""Names, connections and certificates, looked at without the clients that use them."""

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from stream.doctor.result import UNAVAILABLE, Diagnosis, doubtful, failed, fine

CONNECT_S = 5.0
DAY_S = 86_400
EXPIRES_SOON_DAYS = 14


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.host}:{self.port}"


def look_at(
    name: str, address: Address, *, tls: bool, properties: Mapping[str, Any]
) -> Iterator[Diagnosis]:
    """Yield what is found of a host: its name, a connection, its certificate.

    ``properties`` are librdkafka's, for its names of certificate files.
    """
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except OSError as error:
        text = f"{address.host} has no address: {error.strerror}"
        mend = "check the name, and the resolver of this machine or pod"
        yield failed(f"{name} dns", text, mend, exit_code=UNAVAILABLE)
        return
    addresses = sorted({str(entry[4][0]) for entry in found})
    yield fine(f"{name} dns", f"{address.host} is {', '.join(addresses[:4])}")
    try:
        plain = socket.create_connection(address, timeout=CONNECT_S)
    except OSError as error:
        text = f"{address} takes no connection: {error.strerror or 'no answer'}"
        mend = "check port, firewall and network policy"
        yield failed(f"{name} tcp", text, mend, exit_code=UNAVAILABLE)
        return
    with plain:
        yield fine(f"{name} tcp", f"{address} takes connections")
        if tls:
            yield _certificate(f"{name} tls", plain, address, properties)


@contextmanager
def connect(
    address: Address, *, tls: bool, properties: Mapping[str, Any]
) -> Iterator[socket.socket]:
    """Open a connection, for a question of our own.

    Raises:
        OSError: there is none.
    """
    with socket.create_connection(address, timeout=CONNECT_S) as plain:
        if not tls:
            yield plain
            return
        with _context(properties).wrap_socket(plain, server_hostname=address.host) as secure:
            yield secure


def _certificate(
    check: str, plain: socket.socket, address: Address, properties: Mapping[str, Any]
) -> Diagnosis:
    of_kafka = check.startswith("kafka")
    trusted = "ssl.ca.location in KAFKA__PROPERTIES" if of_kafka else "SSL_CERT_FILE"
    try:
        secure = _context(properties).wrap_socket(plain, server_hostname=address.host)
    except (OSError, ValueError) as error:
        reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
        mend = f"check {trusted}, the name in the certificate, and that the port speaks TLS"
        text = f"{address} gives no trusted certificate: {reason}"
        return failed(check, text, mend, exit_code=UNAVAILABLE)
    with secure:
        certificate = secure.getpeercert() or {}
        version = secure.version()
    ends = certificate.get("notAfter")
    days = (ssl.cert_time_to_seconds(str(ends)) - time.time()) / DAY_S if ends else None
    if days is not None and days < EXPIRES_SOON_DAYS:
        text = f"{address}'s certificate ends in {days:.0f} days"
        return doubtful(check, text, "have it renewed")
    lasting = "" if days is None else f", its certificate lasts {days:.0f} days"
    return fine(check, f"{address} speaks {version}{lasting}")


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
