"""Signatures of Segment's webhooks: HMAC-SHA1 over the body, in hex.

Sources: segment.com/docs/connections/destinations/catalog/actions-webhook, and
segmentio/action-destinations, webhook/index.ts: a single event is signed as sent; of an
array only the first event, as ``JSON.stringify`` writes it.
"""

import codecs
import hmac
import json
import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum

from stream.bridge.payload import EVENT_BYTES_MAX, RequestRejectedError
from stream.codec.json_text import BYTE_ORDER_MARK

_HEX = re.compile(r"[0-9a-f]{40}")
_BLANKS = b" \t\n\r"
_Utf8Decoder = codecs.getincrementaldecoder("utf-8")
"""Its input may end within a character."""
# Used only to find the end of the first element, so numbers need not be parsed.
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str)


class Batches(StrEnum):
    """Treatment of an array of which only the first event is signed."""

    REJECT = "reject"
    ACCEPT = "accept"


class Verifier:
    """Checks signatures against one or two secrets; during a rotation both are accepted.

    ``secrets`` returns the current ones.
    """

    def __init__(self, secrets: Callable[[], Sequence[bytes]], batches: Batches) -> None:
        self._secrets = secrets
        self._batches = batches

    def check_form(self, signature: str | None) -> bytes:
        """Return the signature if it is well-formed; called before the body is read.

        Raises:
            RequestRejectedError: it is missing, or not 40 hexadecimal digits.
        """
        if signature is None:
            raise RequestRejectedError("signature", "the header X-Signature is missing")
        given = signature.strip().lower()
        if not _HEX.fullmatch(given):
            raise RequestRejectedError(
                "signature", "X-Signature is not an HMAC-SHA1 in hexadecimal digits"
            )
        return given.encode()

    def check(self, signature: bytes, text: bytes, *, sent: bytes | None = None) -> None:
        """Check that the signature covers a body's JSON text, or the first event of an array if
        the setting allows it. ``sent`` is the compressed body, which may have been signed instead.

        Raises:
            RequestRejectedError: it does not.
        """
        if any(self._covers(signature, signed) for signed in _forms(text, sent)):
            return
        first, is_alone = first_element(text)
        if first is None or not self._covers(signature, first):
            raise RequestRejectedError(
                "signature", "X-Signature does not match the body and the shared secret"
            )
        if not is_alone and self._batches is Batches.REJECT:
            raise RequestRejectedError(
                "signature",
                "the signature covers only the first event of the array: let Segment send one "
                "event per request, or set BRIDGE__UNSIGNED_BATCH_ITEMS=accept",
            )

    def _covers(self, signature: bytes, text: bytes) -> bool:
        """Compare with every secret, in constant time."""
        fits = [
            hmac.compare_digest(hmac.digest(secret, text, "sha1").hex().encode(), signature)
            for secret in self._secrets()
        ]
        return any(fits)


def _forms(text: bytes, sent: bytes | None) -> Iterator[bytes]:
    """Yield what may have been signed: something on the way may have added a byte order mark."""
    yield text
    if text.startswith(BYTE_ORDER_MARK):
        yield text.removeprefix(BYTE_ORDER_MARK)
    if sent is not None:
        yield sent


def first_element(text: bytes) -> tuple[bytes | None, bool]:
    """Return the exact bytes of an array's first element, and whether it is the only one.

    None if the text does not start with an array, or the element is longer than an event may be:
    no more is parsed, since nothing proves yet who sent it.
    """
    array = text.removeprefix(BYTE_ORDER_MARK).lstrip(_BLANKS)
    if not array.startswith(b"["):
        return None, False
    array = array[1:].lstrip(_BLANKS)
    try:
        scanned = _Utf8Decoder().decode(array[: EVENT_BYTES_MAX + 1])
        _, end = _SCANNER.raw_decode(scanned)
    except (ValueError, RecursionError):
        return None, False
    first = scanned[:end].encode()
    if len(first) > EVENT_BYTES_MAX:
        return None, False
    return first, array[len(first) :].strip(_BLANKS) == b"]"
