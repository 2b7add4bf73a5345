"""The page pixel's address. Pure.

Source: segment-integrations/analytics.js-integration-wootric b0918e73, lib/index.js: the
order of the parameters and their encoding.
"""

from urllib.parse import quote

from sink.wootric.operations import PageView


def pixel_request_url(base: str, *, account_token: str | None, page: PageView) -> str:
    """Return the address that reports ``page``; what is not known is left out.

    A query that ``base`` already has is kept.
    """
    parameters = (
        ("account_token", account_token),
        ("email", page.email),
        ("created_at", page.created_at),
        ("url", page.url),
        ("random", page.random),
    )
    query = "&".join(
        f"{name}={_encode_component(str(value))}" for name, value in parameters if value is not None
    )
    return f"{base}{'&' if '?' in base else '?'}{query}"


def _encode_component(text: str) -> str:
    """Encode as JavaScript's encodeURIComponent does; half a surrogate pair becomes ``?``."""
    return quote(text, safe="-_.!~*'()", errors="replace")
