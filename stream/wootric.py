"""The Wootric destination: its transform and its sink, by the settings."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from yarl import URL

from sink.delivery import Sink, SinkListener
from sink.http_session import HttpSession
from sink.proxy import ProxyError, proxy_for
from sink.wootric.auth import WootricAccount
from sink.wootric.operations import read_operation
from sink.wootric.sink import WootricSink
from stream.codec.decode import ById
from stream.engine.prepare import PreparedRecord, Transform
from stream.errors import StartupError
from stream.record import Record
from stream.runtime.worker import Destination, record_preparer
from stream.settings import PageViews, TransformSettings, WootricSettings
from stream.settings_loader import Settings, lasting, load
from stream.transform import Rules, transform


def wootric_destination(settings: Settings) -> Destination:
    """Return what a worker needs to deliver to Wootric.

    Raises:
        StartupError: the environment names a proxy that cannot be used.
    """
    _check_proxy(settings.wootric.api_url, settings.wootric.pixel_url, settings.schema_registry.url)
    return Destination(
        transform=wootric_transform(settings.wootric),
        read_operation=read_operation,
        open_sink=partial(_open_sink, settings.wootric),
    )


def _check_proxy(*urls: str) -> None:
    for url in urls:
        try:
            proxy_for(URL(url))
        except ProxyError as error:
            raise StartupError(str(error), exit_code=78) from error


@asynccontextmanager
async def _open_sink(wootric: WootricSettings, listener: SinkListener) -> AsyncIterator[Sink]:
    """Yield a sink whose credentials follow those of the settings, also when they change."""
    account = wootric_account(wootric)
    session = HttpSession(
        in_flight_max=wootric.in_flight_max, request_timeout_s=wootric.request_timeout_s
    )
    credentials = lasting(
        lambda: wootric_account(load().wootric).credentials, first=account.credentials
    )
    async with session:
        yield WootricSink(account, session=session, hooks=listener, credentials=credentials)


def wootric_account(wootric: WootricSettings) -> WootricAccount:
    """Return the sink's configuration."""

    def secret(name: str) -> str | None:
        value = getattr(wootric, name)
        return None if value is None else str(value.get_secret_value())

    return WootricAccount(
        account_token=wootric.account_token.get_secret_value(),
        api_url=wootric.api_url,
        pixel_url=wootric.pixel_url,
        client_id=secret("client_id"),
        client_secret=secret("client_secret"),
        username=secret("username"),
        password=secret("password"),
        request_timeout_s=wootric.request_timeout_s,
        in_flight_max=wootric.in_flight_max,
        requests_per_minute=wootric.requests_per_minute,
    )


def wootric_transform(wootric: WootricSettings | TransformSettings) -> Transform:
    """Return the transform to Wootric's operations, with these settings."""
    return partial(transform, rules=transform_rules(wootric))


def wootric_preparer(
    wootric: WootricSettings | TransformSettings, by_id: ById | None = None
) -> Callable[[Record], PreparedRecord]:
    """Return a function that decodes and transforms records as a worker does."""
    return record_preparer(wootric_transform(wootric), by_id)


def transform_rules(wootric: WootricSettings | TransformSettings) -> Rules:
    """Return the settings of the mapping."""
    return Rules(
        amount_suffix=wootric.amount_suffix,
        delete_users=wootric.delete_users,
        page_views=wootric.page_views is PageViews.PIXEL,
    )
