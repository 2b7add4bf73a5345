"""The HTTP proxy that the environment names, as curl and httpx read it.

``HTTPS_PROXY``, else ``ALL_PROXY``, also in lower case. ``NO_PROXY`` lists hosts and domains,
separated by commas, that are reached directly. So is this machine, always, and so are ``http://``
URLs: without a tunnel, a reply of the proxy looks like one of the server, and would reject an event
for good.
"""

from urllib import request as environment

from yarl import URL

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class ProxyError(ValueError):
    """The environment names a proxy that cannot be used. The message has no credentials."""


def proxy_for(url: URL) -> URL | None:
    """Return the proxy for a URL, with its credentials if it has any; None for a direct connection.

    Raises:
        ProxyError: it is no ``http://`` proxy.
    """
    if url.scheme != "https" or url.host in LOOPBACK:
        return None
    proxies = environment.getproxies_environment()
    named = proxies.get("https") or proxies.get("all")
    if not named or environment.proxy_bypass_environment(  # type: ignore[attr-defined]
        f"{url.host}:{url.port}", proxies
    ):
        return None
    proxy = URL(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.host:
        text = "HTTPS_PROXY must be a URL such as http://proxy.example.com:3128"
        raise ProxyError(f"{text}; a proxy of another kind is not supported")
    return proxy


def shown(proxy: URL) -> str:
    """Return a proxy's URL for people, without its credentials."""
    return str(proxy.with_user(None))
