"""Operations as requests, byte by byte."""

from urllib.parse import parse_qsl

import pytest

from sink.wootric.auth import WootricAccount
from sink.wootric.operations import CreateDecline, CreateResponse, PageView
from sink.wootric.requests import Requests, unique_link

REQUESTS = Requests(
    resources_url="https://api.wootric.com/v1",
    pixel_url="https://pixel.example/pixel.gif",
    account_token="NPS-1",
)
BASE = "https://api.wootric.com/v1/end_users"


@pytest.mark.parametrize(
    ("external_id", "part"),
    [
        ("u1", "u1"),
        ("a/b", "a%2Fb"),
        ("a b+c?d#e", "a%20b%2Bc%3Fd%23e"),
        ("ünï", "%C3%BCn%C3%AF"),
        ("50%", "50%25"),
        ("%2F", "%252F"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a.b", "a.b"),
    ],
)
def test_an_external_id_stays_one_part_of_the_path(external_id: str, part: str) -> None:
    url = REQUESTS.find_by_external_id(external_id).url
    assert str(url) == f"{BASE}/{part}?lookup_by_external_id=true"


def test_an_email_is_encoded_in_the_path() -> None:
    url = REQUESTS.find_by_email("a+b&c@d.co").url
    assert str(url) == f"{BASE}/a%2Bb%26c%40d.co?lookup_by_email=true"


def test_a_phone_number_keeps_its_plus() -> None:
    assert str(REQUESTS.find_by_phone_number("+1415").url) == f"{BASE}/phone_number/+1415"


def test_a_form_is_urlencoded_with_brackets() -> None:
    request = REQUESTS.update_end_user(7, [("email", "a@b.co"), ("properties[p q]", "é&=")])
    assert (request.method, str(request.url)) == ("PUT", f"{BASE}/7")
    assert request.body == b"email=a%40b.co&properties%5Bp+q%5D=%C3%A9%26%3D"


def test_a_response_carries_its_fields_and_a_link() -> None:
    survey = CreateResponse(score=0, text="no", ip_address="::1", origin_url="http://x")
    request = REQUESTS.create_survey(7, survey, request_id="r")
    assert str(request.url) == f"{BASE}/7/responses"
    assert dict(parse_qsl((request.body or b"").decode())) == {
        "score": "0",
        "text": "no",
        "ip_address": "::1",
        "origin_url": "http://x",
        "survey[unique_link]": unique_link("r"),
    }


def test_a_decline_has_no_score() -> None:
    request = REQUESTS.create_survey(7, CreateDecline(created_at=5), request_id="r")
    body = f"created_at=5&survey%5Bunique_link%5D={unique_link('r')}".encode()
    assert (str(request.url), request.body) == (f"{BASE}/7/declines", body)


def test_lists_are_asked_for_in_a_fixed_order() -> None:
    url = REQUESTS.list_surveys(7, CreateDecline(), page=3).url
    assert str(url) == f"{BASE}/7/declines?page=3&per_page=50&sort_order=asc"


def test_only_what_may_have_an_effect_writes() -> None:
    page = PageView(url="http://x", random="0.5", email="a@b.co")
    writes = [
        REQUESTS.create_end_user([]),
        REQUESTS.update_end_user(1, []),
        REQUESTS.delete_end_user(1),
        REQUESTS.create_survey(1, CreateDecline(), request_id="r"),
        REQUESTS.view_page(page),
    ]
    reads = [REQUESTS.find_by_id(1), REQUESTS.find_by_email("a@b.co"), REQUESTS.probe()]
    assert all(request.writes for request in writes)
    assert not any(request.writes for request in reads)


@pytest.mark.parametrize(
    ("token", "api_url", "resources", "oauth"),
    [
        ("NPS-1", "", "https://api.wootric.com/v1", "https://api.wootric.com/oauth/token"),
        (
            "NPS-EU-4aeb53c1",
            "",
            "https://api.wootric.eu/v1",
            "https://api.wootric.eu/oauth/token",
        ),
        (
            "NPS-AU-4aeb53c1",
            "",
            "https://api.wootric.au/v1",
            "https://api.wootric.au/oauth/token",
        ),
        ("NPS-EU-4aeb53c1", "http://h:1/", "http://h:1/v1", "http://h:1/oauth/token"),
    ],
)
def test_the_account_token_chooses_the_region(
    token: str, api_url: str, resources: str, oauth: str
) -> None:
    account = WootricAccount(account_token=token, api_url=api_url, pixel_url="http://p")
    assert (account.resources_url, account.token_url) == (resources, oauth)


def test_secrets_are_not_shown() -> None:
    account = WootricAccount(
        account_token="NPS-1",
        pixel_url="http://p",
        client_id="hidden",
        client_secret="hidden",
        username="hidden",
        password="hidden",
    )
    assert "hidden" not in repr(account)
