"""Tokens, circuits and the pace."""

import asyncio
import itertools
import math
import time

import pytest
from msgspec.structs import replace
from sink_world import (
    DECLINE,
    DELETE,
    PAGE,
    RESPONSE,
    UPSERT,
    WRITES,
    as_soon_as,
    within_one_minute,
    world,
)
from waiting import stretched, until

from sink.delivery import Deferred, Delivered, Operation, Rejected, Skipped
from sink.wootric.auth import AccessToken, TokenDenied, TokenUnavailable
from sink.wootric.operations import UpsertEndUser
from stream.devtools.wootric_emulator import Answer, Behaviour, Delay, Drop, Truncate

API_CASES: dict[str, Operation] = {
    "update_end_user": UPSERT,
    "delete_end_user": DELETE,
    "create_response": replace(RESPONSE, properties={}),
    "create_decline": replace(DECLINE, properties={}),
}
PASSWORD = {"client_id": None, "client_secret": None, "username": "u", "password": "p"}


async def test_many_who_wait_share_one_token_request() -> None:
    async with world() as here:
        users = [UpsertEndUser(external_id=f"u{n}") for n in range(10)]
        outcomes = await asyncio.gather(*map(here.deliver, users))
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        assert here.token_requests() == 1


@pytest.mark.parametrize("kind", API_CASES)
async def test_a_token_that_no_longer_counts_is_renewed_once(kind: str) -> None:
    async with world() as here:
        known = here.hold()
        await here.sink.authorize()
        here.wootric.revoke_tokens()
        assert isinstance(await here.deliver(API_CASES[kind], known=known), Delivered)
        assert here.effects() == [kind]
        assert here.token_requests() == 2


async def test_many_refused_at_once_share_one_renewal() -> None:
    async with world() as here:
        await here.sink.authorize()
        here.wootric.revoke_tokens()
        users = [UpsertEndUser(external_id=f"u{n}") for n in range(10)]
        outcomes = await asyncio.gather(*map(here.deliver, users))
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        assert here.token_requests() == 2
        assert len(here.effects()) == 10


async def test_a_late_401_does_not_drop_the_token_that_came_since() -> None:
    async with world() as here:
        await here.sink.authorize()
        here.wootric.on("POST", "/v1/end_users", Answer(status=401, delay_s=float(stretched(1))))
        late = asyncio.create_task(here.deliver(UpsertEndUser(external_id="late")))
        await as_soon_as(lambda: here.requests("POST"), "it is asked for")
        here.wootric.revoke_tokens()
        assert isinstance(await here.deliver(UPSERT), Delivered)
        assert not late.done()
        assert isinstance(await late, Delivered)
        assert here.token_requests() == 2


@pytest.mark.parametrize("kind", API_CASES)
async def test_a_second_401_opens_the_circuit_and_rejects_nothing(kind: str) -> None:
    async with world() as here:
        known = here.hold()
        here.wootric.on(*WRITES[kind], Answer(status=401), always=True)
        for refused in (0, 1):
            outcome = await here.deliver(API_CASES[kind], known=known, refused=refused)
            assert isinstance(outcome, Deferred)
            assert outcome.refused
            assert here.sink.capacity(time.monotonic()) == 0
            assert await here.sink.probe()
        assert here.effects() == []
        assert (
            here.heard.circuits
            == [
                ("api", True, "unauthorized"),
                ("api", False, ""),
            ]
            * 2
        )


@pytest.mark.parametrize("status", [402, 403])
@pytest.mark.parametrize("kind", API_CASES)
async def test_what_is_forbidden_waits_for_a_probe(kind: str, status: int) -> None:
    async with world() as here:
        known = here.hold()
        here.wootric.on(*WRITES[kind], Answer(status=status))
        outcome = await here.deliver(API_CASES[kind], known=known)
        assert isinstance(outcome, Deferred)
        assert outcome.refused
        other = await here.deliver(UPSERT)
        assert isinstance(other, Deferred)
        assert not other.refused, "it was not asked"
        assert await here.sink.probe()
        assert isinstance(await here.deliver(API_CASES[kind], known=known, refused=1), Delivered)
        assert here.effects() == [kind]


async def test_what_is_forbidden_again_while_all_else_passes_is_rejected() -> None:
    async with world() as here:
        known = here.hold()
        here.wootric.on(*WRITES["update_end_user"], Answer(status=403), always=True)
        assert isinstance(await here.deliver(UPSERT, known=known), Deferred)
        assert await here.sink.probe()
        outcome = await here.deliver(UPSERT, known=known, refused=1)
        assert isinstance(outcome, Rejected)
        assert outcome.reason == "forbidden"
        assert here.sink.circuits()["api"] is None


async def test_a_probe_that_is_forbidden_keeps_the_circuit_open() -> None:
    async with world() as here:
        here.wootric.on("*", "/v1/*", Answer(status=403), always=True)
        await here.deliver(UPSERT)
        assert not await here.sink.probe()
        assert here.sink.circuits()["api"] == "forbidden"


async def test_the_circuit_closes_by_itself_when_credentials_are_good_again() -> None:
    async with world(Behaviour(client_secret="other"), probe_interval_s=0.05) as here:
        await here.sink.start()
        outcome = await here.deliver(UPSERT)
        assert isinstance(outcome, Deferred)
        assert not outcome.refused, "it was never asked"
        assert here.sink.circuits()["api"] == "credentials"
        here.wootric.behaviour = Behaviour()
        await until(lambda: not here.sink.circuits()["api"], "it closes", here.token_requests)
        assert isinstance(await here.deliver(UPSERT), Delivered)


async def test_a_redirect_is_a_matter_of_configuration() -> None:
    async with world() as here:
        headers = {"Location": "https://elsewhere.example/"}
        here.wootric.on("*", "/v1/*", Answer(status=302, headers=headers))
        outcome = await here.deliver(UPSERT)
        assert isinstance(outcome, Deferred)
        assert not outcome.refused
        assert here.sink.circuits()["api"] == "redirected"


@pytest.mark.parametrize(
    "fault",
    [Drop(), Answer(status=500), Answer(status=429, headers={"Retry-After": "0"}), Truncate()],
    ids=repr,
)
async def test_a_token_endpoint_in_trouble_is_asked_again(fault: Drop) -> None:
    async with world() as here:
        here.wootric.on("POST", "/oauth/token", fault)
        assert isinstance(await here.deliver(UPSERT), Delivered)
        assert here.heard.tokens == [False, True]


async def test_a_token_endpoint_that_stays_down_executes_nothing() -> None:
    async with world() as here:
        here.wootric.on("POST", "/oauth/token", Answer(status=500), always=True)
        outcome = await here.deliver(UPSERT)
        assert isinstance(outcome, Deferred)
        assert outcome.reason == "token"
        assert here.requests() == []


async def test_a_token_is_renewed_ahead_of_its_end_without_anybody_waiting() -> None:
    async with world(Behaviour(expires_in_s=float(stretched(4)))) as here:
        await here.deliver(UPSERT)
        here.wootric.on("POST", "/oauth/token", Delay(before_s=0.05))

        async def renewed() -> bool:
            await here.deliver(DELETE)
            return here.token_requests() == 2

        await until(renewed, "the token is renewed")
        assert all(entry.status != 401 for entry in here.wootric.journal.entries)


async def test_the_password_grant_names_the_account_and_uses_its_refresh_token() -> None:
    behaviour = Behaviour(username="u", password="p", account_token="NPS-4aeb53c1")
    async with world(behaviour, **PASSWORD) as here:
        await here.deliver(UPSERT)
        here.wootric.revoke_tokens()
        assert isinstance(await here.deliver(DELETE), Delivered)
        grants = [
            entry.form.partition("&")[0]
            for entry in here.wootric.journal.entries
            if entry.path == "/oauth/token"
        ]
        assert grants == ["grant_type=password", "grant_type=refresh_token"]


async def test_a_refresh_token_that_is_refused_leads_back_to_the_full_grant() -> None:
    async with world(**PASSWORD) as here:
        await here.deliver(UPSERT)
        here.wootric.revoke_tokens()
        here.wootric.on("POST", "/oauth/token", Answer(status=400))
        assert isinstance(await here.deliver(DELETE), Delivered)
        assert here.token_requests() == 3


@pytest.mark.parametrize(
    ("behaviour", "account", "refusal"),
    [
        (Behaviour(client_secret="other"), {}, ("invalid_client", 401)),
        (Behaviour(password="other"), PASSWORD, ("invalid_grant", 400)),
        (Behaviour(account_token="NPS-other"), PASSWORD, ("invalid_client", 401)),
    ],
    ids=["client", "login", "account"],
)
async def test_wrong_credentials_are_found_by_asking_and_nothing_is_sent(
    behaviour: Behaviour, account: dict[str, str], refusal: tuple[str, int]
) -> None:
    async with world(behaviour, **account) as here:
        assert here.sink.circuits()["api"] is None
        assert await here.sink.authorize() == TokenDenied(refusal[1], refusal[0])
        assert here.sink.circuits()["api"] == "credentials"
        assert here.heard.refusals == [refusal]
        assert here.sink.capacity(time.monotonic()) == 0
        assert isinstance(await here.deliver(UPSERT), Deferred)
        assert here.requests() == []
        assert here.token_requests() == 1


async def test_good_credentials_are_asked_for_once() -> None:
    async with world() as here:
        assert isinstance(await here.sink.authorize(), AccessToken)
        assert isinstance(await here.deliver(UPSERT), Delivered)
        assert here.token_requests() == 1


@pytest.mark.parametrize("fault", [Drop(), Answer(status=503), Answer(status=429)], ids=repr)
async def test_a_token_endpoint_in_trouble_says_nothing_about_the_credentials(
    fault: Drop,
) -> None:
    async with world() as here:
        here.wootric.on("POST", "/oauth/token", fault)
        assert isinstance(await here.sink.authorize(), TokenUnavailable)
        assert here.sink.circuits()["api"] is None


@pytest.mark.parametrize(
    ("status", "error"), [(404, "status_404"), (302, "status_302"), (403, "access_denied")]
)
async def test_an_address_without_tokens_is_a_matter_of_configuration(
    status: int, error: str
) -> None:
    async with world() as here:
        body = f'{{"error":"{error}"}}'
        here.wootric.on("POST", "/oauth/token", Answer(status=status, body=body))
        assert await here.sink.authorize() == TokenDenied(status, error)


@pytest.mark.parametrize(
    ("expires_in", "lifetime_s"),
    [("60", 60), ('"60"', 60), ("0", 7200), ("-1", 7200), ('"soon"', 7200), ("null", 7200)],
)
async def test_how_long_a_token_lasts_is_read_with_care(expires_in: str, lifetime_s: int) -> None:
    async with world() as here:
        body = f'{{"access_token":"t","token_type":"bearer","expires_in":{expires_in}}}'
        here.wootric.on("POST", "/oauth/token", Answer(status=200, body=body))
        now = time.monotonic()
        grant = await here.sink.authorize()
        assert isinstance(grant, AccessToken)
        assert now <= grant.expires_at - lifetime_s <= time.monotonic()


@pytest.mark.parametrize("skew_s", [-86_400, 86_400])
async def test_a_wall_clock_that_is_wrong_or_jumps_changes_nothing(skew_s: float) -> None:
    skew = itertools.chain([0.0], itertools.repeat(skew_s))
    async with world(
        Behaviour(rate_limit_per_minute=1000), wall_clock=lambda: time.time() + next(skew)
    ) as here:
        for _ in range(3):
            assert isinstance(await here.deliver(UPSERT), Delivered | Skipped)
        assert here.token_requests() == 1
        reset_at = int(time.time()) + 30
        headers = {"X-Rate-Limit-Reset": str(reset_at)}
        here.wootric.on("GET", "/v1/end_users/{id}", Answer(status=429, headers=headers))
        await here.deliver(UPSERT)
        assert reset_at - time.time() - 2 < here.heard.waits[0] < 32


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_the_pixel_has_a_circuit_of_its_own(status: int) -> None:
    async with world() as here:
        here.wootric.on(*WRITES["page_view"], Answer(status=status))
        outcome = await here.deliver(PAGE)
        assert isinstance(outcome, Deferred)
        assert outcome.refused
        now = time.monotonic()
        assert (here.sink.capacity(now, unlimited=True), here.sink.capacity(now)) == (0, 32)
        assert isinstance(await here.deliver(UPSERT), Delivered)


async def test_when_its_probe_is_due_one_page_is_let_through() -> None:
    async with world(probe_interval_s=0.02) as here:
        here.wootric.on(*WRITES["page_view"], Answer(status=403), times=2)
        await here.deliver(PAGE)
        await asyncio.sleep(0.03)
        assert here.sink.capacity(time.monotonic(), unlimited=True) == 1
        first, second = await asyncio.gather(here.deliver(PAGE), here.deliver(PAGE))
        assert isinstance(first, Deferred)
        assert first.refused
        assert isinstance(second, Deferred)
        assert not second.refused, "one trial at a time"
        await asyncio.sleep(0.03)
        assert isinstance(await here.deliver(PAGE, refused=2), Delivered)
        assert here.sink.capacity(time.monotonic(), unlimited=True) == 32


async def test_a_page_forbidden_in_its_own_trial_has_not_been_judged() -> None:
    """Only a pixel that serves others can say that the page itself is to blame."""
    async with world(probe_interval_s=0.0) as here:
        here.wootric.on(*WRITES["page_view"], Answer(status=403), times=2)
        await here.deliver(PAGE)
        assert isinstance(await here.deliver(PAGE, refused=1), Deferred)
        assert isinstance(await here.deliver(PAGE), Delivered)
        here.wootric.on(*WRITES["page_view"], Answer(status=403))
        outcome = await here.deliver(PAGE, refused=2)
        assert isinstance(outcome, Rejected)
        assert outcome.reason == "forbidden"


async def test_the_last_place_of_the_allowance_shuts_the_gate_ahead_of_a_429() -> None:
    minute = within_one_minute()
    async with world(Behaviour(rate_limit_per_minute=3), server_clock=minute) as here:
        outcomes = [await here.deliver(UpsertEndUser(external_id=f"u{n}")) for n in range(2)]
        assert isinstance(outcomes[0], Delivered)
        assert isinstance(outcomes[1], Deferred)
        assert all(entry.status != 429 for entry in here.wootric.journal.entries)
        assert here.sink.capacity(time.monotonic()) == 0


async def test_the_pace_is_kept_and_pages_are_outside_of_it() -> None:
    async with world(requests_per_minute=1) as here:
        known = here.hold()
        assert isinstance(await here.deliver(UPSERT, known=known), Delivered)
        now = time.monotonic()
        assert here.sink.requests(now, within_s=0.0) < 1
        assert here.sink.capacity(now, unlimited=True) == 32
        for _ in range(5):
            assert isinstance(await here.deliver(PAGE), Delivered)


async def test_a_worker_takes_the_part_of_the_pace_that_its_partitions_are() -> None:
    async with world(requests_per_minute=1200) as here:
        now = time.monotonic()
        assert here.sink.requests(now, within_s=0.0) == 20
        here.sink.share(2, 6)
        assert here.heard.paces == [400]
        assert here.sink.requests(now, within_s=0.0) == 6
        here.sink.share(6, 6)
        assert here.heard.paces == [400, 1200]
        assert here.sink.requests(now + 1, within_s=0.0) == 20


async def test_what_is_being_delivered_has_the_first_claim_on_the_pace() -> None:
    """A look-up that is under way will be followed by a write: that one is promised already."""
    async with world(requests_per_minute=60 * 10) as here:
        here.wootric.on("GET", "/v1/end_users/{id}", Delay(before_s=0.5), times=1)
        await here.sink.authorize()
        now = time.monotonic()
        assert here.sink.requests(now, within_s=0.0) == 10
        delivery = asyncio.create_task(here.deliver(UPSERT))
        await as_soon_as(lambda: here.requests("GET"), "it is looked for")
        assert here.sink.requests(now, within_s=0.0) == pytest.approx(8, abs=0.1)
        assert here.sink.requests(now, within_s=1.0) == pytest.approx(8 + 591 / 60, abs=0.1)
        assert isinstance(await delivery, Delivered)


async def test_without_a_limit_any_number_of_requests_may_begin() -> None:
    async with world() as here:
        assert here.sink.requests(time.monotonic(), within_s=0.5) == math.inf


async def test_at_a_slow_pace_an_end_user_is_created_all_the_same() -> None:
    """Who has looked already waits for its turn: to look again would go on for ever."""
    async with world(requests_per_minute=28) as here:
        began_at = time.monotonic()
        assert isinstance(await here.deliver(UPSERT), Delivered)
        assert time.monotonic() - began_at > 2.0
        assert [method for method, _ in here.requests()] == ["GET", "POST"]


async def test_what_the_account_has_left_is_spread_instead_of_refused() -> None:
    minute = within_one_minute()
    async with world(Behaviour(rate_limit_per_minute=20), server_clock=minute) as here:
        users = [here.hold(email=None, external_id=f"u{n}") for n in range(40)]
        wanted = [UpsertEndUser(external_id=f"u{n}", properties={"plan": "pro"}) for n in range(40)]
        outcomes = []
        for user, operation in zip(users, wanted, strict=True):
            if here.sink.requests(time.monotonic(), within_s=0.0) >= 1:
                outcomes.append(await here.deliver(operation, known=user))
        assert 9 <= sum(isinstance(outcome, Delivered) for outcome in outcomes) <= 20
        assert all(entry.status != 429 for entry in here.wootric.journal.entries)
        assert here.heard.waits == []
        assert here.heard.allowances[0] == ("api", 19, 20)


async def test_a_host_that_fails_is_asked_fewer_things_at_once() -> None:
    """Each host has its own limit, and comes back."""
    async with world() as here:
        known = here.hold()
        here.wootric.on(*WRITES["update_end_user"], Answer(status=500, delay_s=0.3), times=16)
        await asyncio.gather(*(here.deliver(UPSERT, known=known) for _ in range(16)))
        first, *lowered = here.heard.limits[1:]
        assert (here.heard.limits[0], first) == (("api", 16), ("pixel", 16))
        assert lowered[0] == ("api", 8)
        assert {host for host, _ in lowered} == {"api"}

        async def back() -> bool:
            here.wootric.on(*WRITES["update_end_user"], Delay(before_s=0.02), times=16)
            await asyncio.gather(*(here.deliver(UPSERT, known=known) for _ in range(16)))
            return here.heard.limits[-1] == ("api", 16)

        await until(back, "the limit is as it was", lambda: len(here.heard.limits))
        assert here.sink.capacity(time.monotonic()) == 32


async def test_capacity_shrinks_with_what_is_in_flight() -> None:
    async with world() as here:
        here.wootric.on(*WRITES["page_view"], Delay(before_s=0.1), always=True)
        tasks = [asyncio.create_task(here.deliver(PAGE)) for _ in range(5)]
        await asyncio.sleep(0)
        assert here.sink.capacity(time.monotonic()) == 27
        await asyncio.gather(*tasks)
        assert here.sink.capacity(time.monotonic()) == 32


async def test_a_defect_of_our_own_neither_raises_nor_loses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as here:

        def broken(*_: object) -> None:
            raise KeyError("ada@example.com")

        monkeypatch.setattr("sink.wootric.end_users.create_form", broken)
        outcome = await here.deliver(UPSERT)
        assert isinstance(outcome, Deferred)
        assert outcome.reason == "internal: KeyError"


async def test_the_listener_hears_of_every_request() -> None:
    async with world() as here:
        await here.deliver(UPSERT)
        assert here.heard.requests == [
            ("token", "executed", 200),
            ("find_end_user", "refused", 404),
            ("create_end_user", "executed", 201),
        ]


async def test_no_token_is_shown() -> None:
    async with world() as here:
        await here.deliver(UPSERT)
        keeper = here.sink._tokens
        bearer = keeper.current()
        assert bearer is not None
        token = bearer.read_headers["Authorization"].removeprefix("Bearer ")
        assert len(token) > 20
        assert token not in repr(bearer) + repr(keeper) + repr(here.heard)
