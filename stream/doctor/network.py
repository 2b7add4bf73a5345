"""Checks of names, connections and certificates, without the clients that use them."""

import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from yarl import URL

from sink.proxy import LOOPBACK, ProxyError, proxy_for, shown
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


def check_url(name: str, url: URL) -> Iterator[CheckResult]:
    """Yield the results for the server of a URL, or for the proxy through which it is reached."""
    if url.scheme == "http" and url.host not in LOOPBACK:
        text = f"{url.host} is reached without TLS: credentials and events are readable on the way"
        yield warning(f"{name} tls", text, "use an https:// URL")
    try:
        proxy = proxy_for(url)
    except ProxyError as error:
        fix = "correct the variable, or add the host to NO_PROXY"
        yield failed(f"{name} proxy", str(error), fix, exit_code=CONFIGURATION)
        return
    if proxy is None:
        address = Address(url.host or "", url.port or 0)
        yield from check_address(name, address, tls=url.scheme == "https", properties={})
        return
    yield ok(f"{name} proxy", f"{url.host} is reached through {shown(proxy)}")
    address = Address(proxy.host or "", proxy.port or 0)
    yield from check_address(f"{name} proxy", address, tls=False, properties={})


def check_encryption(
    addresses: Sequence[Address], properties: Mapping[str, Any]
) -> Iterator[CheckResult]:
    """Yield warnings about what of librdkafka's properties leaves connections to Kafka open to
    others. On this machine nobody else listens.
    """
    if all(address.host in LOOPBACK for address in addresses):
        return
    given = {name: str(value).lower() for name, value in properties.items()}
    if given.get("security.protocol") == "sasl_plaintext":
        text = "SASL_PLAINTEXT: the login and all events are readable on the way"
        yield warning("kafka tls", text, "use a listener of the brokers with SASL_SSL")
    if given.get("enable.ssl.certificate.verification") == "false":
        text = "the brokers' certificates are not verified: anybody can pose as a broker"
        fix = "set ssl.ca.location to the authority, and remove enable.ssl.certificate.verification"
        yield warning("kafka tls", text, fix)
    elif given.get("ssl.endpoint.identification.algorithm") == "none":
        text = "the names in the brokers' certificates are not verified: any holder is trusted"
        fix = "remove ssl.endpoint.identification.algorithm, and use names that are certified"
        yield warning("kafka tls", text, fix)


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
