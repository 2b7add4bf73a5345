"""The parts of aiohttp that ``sink/http_session.py`` is built on are as its docstring says."""

import inspect
import re

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import BaseConnector, Connection
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.streams import DataQueue, StreamReader

from sink import http_session

CHANGED = "aiohttp has changed: read what sink/http_session.py takes from it, and run its tests"


@pytest.mark.parametrize(
    ("part", "taken"),
    [
        (BaseConnector.connect, {"req", "traces", "timeout"}),
        (ClientRequest, {"method", "url", "skip_auto_headers", "loop", "proxy"}),
        (
            ResponseHandler.set_response_params,
            {"skip_payload", "read_until_eof", "max_line_size", "max_field_size", "max_headers"},
        ),
        (DataQueue.read, set[str]()),
        (StreamReader.readany, set[str]()),
        (Connection.close, set[str]()),
        (Connection.release, set[str]()),
    ],
)
def test_what_is_called_takes_what_it_is_given(part: object, taken: set[str]) -> None:
    assert callable(part)
    parameters = inspect.signature(part).parameters
    required = {
        name
        for name, one in parameters.items()
        if one.default is one.empty and name not in {"self", "args", "kwargs"}
    }
    assert required <= taken <= set(parameters), CHANGED


def test_what_is_read_is_there() -> None:
    assert isinstance(Connection.protocol, property), CHANGED
    assert isinstance(Connection.transport, property), CHANGED
    assert isinstance(ResponseHandler.should_close, property), CHANGED
    assert issubclass(ResponseHandler, DataQueue), CHANGED
    assert {"code", "headers"} <= set(dir(RawResponseMessage)), CHANGED


def test_replies_are_read_by_the_parser_that_is_written_in_c() -> None:
    assert HttpResponseParser.__module__ == "aiohttp._http_parser"


def test_the_version_that_was_read_is_the_one_installed() -> None:
    """Of another minor version each part has to be read again."""
    (read,) = re.findall(r"aiohttp (\d+\.\d+)\.\d+ are used", http_session.__doc__ or "")
    assert aiohttp.__version__.startswith(f"{read}."), CHANGED
