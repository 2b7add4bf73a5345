"""The bytes of requests, and what becomes of connections and replies beside them."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from multidict import CIMultiDict
from test_http import OK, RawServer, serving
from yarl import URL

from sink.models import HttpResponse, Request
from sink.wootric.auth import BARE_HEADERS, FORM, _headers
from sink.wootric.operations import CreateDecline, CreateResponse, PageView
from sink.wootric.requests import Requests

WIRE = Path(__file__).parents[2] / "cases" / "wire.json"

ODD = "a/b c+ä@x.com"
SURVEY = CreateResponse(score=9, text="gut & günstig\r\n", ip_address="192.0.2.1", created_at=1)
DECLINE = CreateDecline(origin_url="https://x.com/?a=b&c=d")
PAGE = PageView(url="https://x.com/ä?q=1#top", random="0.5", email=ODD, created_at=1_700_000_000)
FIELDS = [("email", ODD), ("properties[plan]", "free"), ("properties[ü]", "")]

READ = _headers(Authorization="Bearer token")
WRITE = CIMultiDict({**READ, "Content-Type": FORM})


def requests_of(url: str) -> dict[str, tuple[Request, Mapping[str, str]]]:
    """Every kind of request of the service, with the headers that it is sent with."""
    made = Requests(
        resources_url=f"{url}/v1", pixel_url=f"{url}/pixel.gif", account_token="NPS-EU-1"
    )
    lookups = {
        "by id": made.find_by_id(7),
        "by external id": made.find_by_external_id(ODD),
        "by an external id of dots": made.find_by_external_id(".."),
        "by e-mail": made.find_by_email(ODD),
        "list by e-mail": made.list_by_email(ODD),
        "by phone number": made.find_by_phone_number("+49 30"),
        "list responses": made.list_surveys(7, SURVEY, page=2),
        "find a decline": made.find_survey(7, DECLINE, 8),
        "probe": made.probe(),
    }
    writes = {
        "create": made.create_end_user(FIELDS),
        "update": made.update_end_user(7, FIELDS),
        "delete": made.delete_end_user(7),
        "response": made.create_survey(7, SURVEY, request_id="r"),
        "decline": made.create_survey(7, DECLINE, request_id="r"),
    }
    token = Request("token", "POST", URL(f"{url}/oauth/token?account_token=NPS-1"), b"a=b&c=d")
    return {
        **{name: (one, READ) for name, one in lookups.items()},
        **{name: (one, WRITE) for name, one in writes.items()},
        "page view": (made.view_page(PAGE), BARE_HEADERS),
        "token": (token, _headers(**{"Content-Type": FORM})),
        "without a type": (
            Request("post", "POST", URL(f"{url}/"), b"{}"),
            {"Idempotency-Key": "1"},
        ),
        "an empty body": (Request("post", "POST", URL(f"{url}/"), b""), {}),
        "HEAD": (Request("head", "HEAD", URL(f"{url}/a#b", encoded=True)), {}),
    }


@pytest.mark.parametrize("name", requests_of(""))
async def test_the_bytes_of_a_request_never_change(name: str) -> None:
    """The file was written by ``aiohttp.ClientSession``."""
    server = RawServer(OK.replace(b"2\r\n", b"0\r\n").removesuffix(b"ok"))
    async with serving(server) as session:
        one, headers = requests_of(f"http://127.0.0.1:{server.port}")[name]
        assert isinstance(await session.send(one, headers), HttpResponse)
    (sent,) = server.requests
    text = sent.decode().replace(f"127.0.0.1:{server.port}", "api.wootric.com")
    assert text == json.loads(WIRE.read_text(encoding="utf-8"))[name]
