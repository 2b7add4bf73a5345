"""A body's JSON text, out of what came over the wire; never more of it than allowed."""

import zlib

from stream.bridge.refusal import Refused

BODY_BYTES_MAX = 500 * 1024
"""Of one request, inflated. Source: Segment's limit for a batch."""

_GZIP = 16 + zlib.MAX_WBITS


def inflate(data: bytes) -> bytes:
    """Return what gzip packed.

    Raises:
        Refused: it is no gzip, is cut off, or holds more than a body may.
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        text = stream.decompress(data, BODY_BYTES_MAX + 1)
    except zlib.error:
        raise Refused("undecodable", "the body is no gzip") from None
    check_length(len(text))
    if not stream.eof or stream.unused_data:
        raise Refused("undecodable", "the gzip is cut off, or something comes after it")
    return text


def check_length(length: int) -> None:
    """Refuse a body of more bytes than Segment sends.

    Raises:
        Refused: it is longer.
    """
    if length > BODY_BYTES_MAX:
        raise Refused("too_large", f"the body is longer than {BODY_BYTES_MAX} bytes")
