"""The probe of a real account: it creates a test person, observes, and deletes the person."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sink.classify import Ambiguous, Executed, Throttled, Unauthorized, classify
from sink.http_session import HttpSession
from sink.models import HttpResponse, NotSent, Request, SendResult
from sink.rate_limit import demanded_wait_s
from sink.wootric import probe as reading
from sink.wootric import replies
from sink.wootric.auth import (
    BARE_HEADERS,
    AccessToken,
    TokenDenied,
    TokenProvider,
    WootricAccount,
)
from sink.wootric.endpoint import Dependencies
from sink.wootric.operations import CreateResponse, PageView, UpsertEndUser
from sink.wootric.probe import NOT_ASKED, ProbePerson, Seen
from sink.wootric.requests import PAGES_MAX, Form, create_form, property_fields
from stream.doctor.result import PERMISSION, UNAVAILABLE

ATTEMPTS_MAX = 3
"""Of a request that was throttled or had no valid token, and so was not executed."""
THROTTLED_S = 5.0
THROTTLED_S_MAX = 65.0  # Wootric counts by the minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Waits of the probe, in seconds: between polls, in total, and after the last effect."""

    polls_s: tuple[float, ...] = (0.5, 0.5, 1.0, 1.0, 2.0, 5.0)
    """The last is repeated."""
    listed_within_s: float = 120.0
    settle_s: float = 3.0

    def waits(self) -> Iterator[float]:
        """Yield the waits between polls, without an end."""
        yield from self.polls_s
        while True:
            yield self.polls_s[-1]


@dataclass(slots=True)
class ProbeReport:
    """What the probe has seen so far, and what of the test person may be left.

    ``ids`` are the end users that were created and not deleted. ``in_doubt`` is True while a create
    may have succeeded without a known id. ``failure`` is why the probe ended early.
    """

    person: ProbePerson
    seen: dict[str, Seen] = field(default_factory=dict)
    ids: list[int] = field(default_factory=list)
    in_doubt: bool = False
    failure: str = ""
    exit_code: int = 0


def new_person() -> ProbePerson:
    """Return a person with random names and a phone number reserved for fiction."""
    return ProbePerson(
        suffix=secrets.token_hex(5), phone_number=f"+12025550{100 + secrets.randbelow(100)}"
    )


async def probe_account(
    account: WootricAccount,
    report: ProbeReport,
    *,
    say: Callable[[str], None],
    pace: Pace | None = None,
) -> None:
    """Answer the questions of ``sink.wootric.probe`` and record the answers in ``report``.

    The test person is deleted in any case, also when the task is cancelled.
    """
    async with HttpSession(in_flight_max=1, request_timeout_s=account.request_timeout_s) as session:
        await _Probe(_Api(account, session, say), report, say, pace or Pace()).run()


class _Api:
    """Sends requests one at a time with the account's token."""

    def __init__(
        self, account: WootricAccount, session: HttpSession, say: Callable[[str], None]
    ) -> None:
        self._session = session
        self._say = say
        self.tokens = TokenProvider(Dependencies(http=session), account)
        self.requests = account.requests()
        self.limits: set[str] = set()

    async def send(self, request: Request) -> SendResult:
        """Return the result; only a request that was surely not executed is sent again."""
        for _ in range(ATTEMPTS_MAX):
            token = await self.tokens.get()
            if not isinstance(token, AccessToken):
                return NotSent("no token")
            headers = token.read_headers if request.body is None else token.write_headers
            result = await self._session.send(request, headers)
            if isinstance(result, HttpResponse):
                self.limits |= reading.rate_limit_headers(result)
            match classify(result, writes=request.writes, accepts=request.accepts):
                case Unauthorized():
                    self.tokens.discard(token)
                case Throttled(_, reply_headers):
                    wait_s = demanded_wait_s(reply_headers, unix_now=time.time()) or THROTTLED_S
                    self._say(f"throttled, waiting {min(wait_s, THROTTLED_S_MAX):.0f} s")
                    await asyncio.sleep(min(wait_s, THROTTLED_S_MAX))
                case _:
                    break
        return result

    async def reply(self, request: Request) -> HttpResponse | Seen:
        """Return the API's reply, or why there is none."""
        return _reply(request, await self.send(request))

    async def load_pixel(self, page: PageView) -> HttpResponse | Seen:
        """Return the pixel's reply. It gets no token."""
        request = self.requests.view_page(page)
        result = await self._session.send(request, BARE_HEADERS)
        return result if isinstance(result, HttpResponse) else _reply(request, result)


def _reply(request: Request, result: SendResult) -> HttpResponse | Seen:
    seen = reading.unanswered(request, result)
    if seen is not None or not isinstance(result, HttpResponse):
        return seen or NOT_ASKED
    return result


class _Probe:
    """One run."""

    def __init__(
        self, api: _Api, report: ProbeReport, say: Callable[[str], None], pace: Pace
    ) -> None:
        self._api = api
        self._requests = api.requests
        self._report = report
        self._person = report.person
        self._seen = report.seen
        self._say = say
        self._pace = pace

    async def run(self) -> None:
        grant = await self._api.tokens.fresh()
        if not isinstance(grant, AccessToken):
            denied = isinstance(grant, TokenDenied)
            why = f"status {grant.status}" if isinstance(grant, TokenDenied) else grant.detail
            self._fail(f"no token: {why}", PERMISSION if denied else UNAVAILABLE)
            return
        try:
            await self._observe()
        finally:
            await self._delete()
            await self._api.tokens.close()
            self._seen["rate_limit"] = reading.rate_limit(self._api.limits)

    def _fail(self, text: str, code: int) -> None:
        self._report.failure, self._report.exit_code = text, code

    async def _observe(self) -> None:
        self._say(f"creating the test person {self._person.external_id}")
        created = await self._create(create_form(self._person.profile))
        if isinstance(created, Seen) or reading.is_refused(created):
            is_reply = isinstance(created, HttpResponse)
            why = reading.said(created) if isinstance(created, HttpResponse) else created.detail
            self._fail(f"the test person was not created: {why}", 1 if is_reply else UNAVAILABLE)
            return
        self._seen["write_reply"] = reading.write_reply(created)
        if not self._report.ids:
            await self._search()
        if not self._report.ids:
            self._fail("the reply to the create does not show the test person", 1)
            return
        user_id = self._report.ids[0]
        shown = await self._look_up()
        await self._repeat_email()
        await self._change(user_id)
        is_listed = await self._survey(user_id)
        await self._compare_lists(before=shown, is_listed=is_listed)
        self._note(
            "page_beyond",
            await self._api.reply(
                self._requests.list_surveys(user_id, self._response(1), page=PAGES_MAX + 1)
            ),
            reading.page_beyond,
        )
        await self._repeat_others(user_id)
        await self._load_pixel()

    def _note(
        self, key: str, reply: HttpResponse | Seen, read: Callable[[HttpResponse], Seen]
    ) -> None:
        self._seen[key] = reply if isinstance(reply, Seen) else read(reply)

    # People: create, find, delete

    async def _create(self, form: Form) -> HttpResponse | Seen:
        """Create a person; record the id, or that there may be one without a known id."""
        doubt = self._report.in_doubt
        self._report.in_doubt = True  # until the reply: this task may be cancelled
        request = self._requests.create_end_user(form)
        result = await self._api.send(request)
        verdict = classify(result, writes=True, accepts=request.accepts)
        reply = _reply(request, result)
        own = None
        if isinstance(reply, HttpResponse):
            own = self._remember([replies.document(reply.body)])
        refused = isinstance(reply, HttpResponse) and reading.is_refused(reply)
        executed = isinstance(verdict, Executed | Ambiguous)
        self._report.in_doubt = doubt or (executed and not own and not refused)
        return reply

    def _remember(self, records: Iterable[Any]) -> bool:
        """Record the ids of the person's own records; return whether there are any."""
        own = [one for one in map(self._person.own_id, records) if one is not None]
        self._report.ids += [one for one in dict.fromkeys(own) if one not in self._report.ids]
        return bool(own)

    async def _records(self, request: Request) -> list[Any] | Seen:
        """Return the records of a reply, also of one with a single record."""
        reply = await self._api.reply(request)
        if isinstance(reply, Seen):
            return reply
        if reading.is_refused(reply):
            return []
        value = replies.document(reply.body)
        return value if isinstance(value, list) else [value]

    async def _shows(self, request: Request) -> bool | None:
        """Return whether a reply shows the person; None if there is no reply."""
        records = await self._records(request)
        if isinstance(records, Seen):
            return None
        return any(self._person.own_id(one) is not None for one in records)

    async def _search(self) -> None:
        """Record the ids under which the person can be found."""
        requests = [self._requests.find_by_external_id(self._person.external_id)]
        for email in self._person.emails:
            requests += [self._requests.find_by_email(email), self._requests.list_by_email(email)]
        for request in requests:
            records = await self._records(request)
            if not isinstance(records, Seen):
                self._remember(records)

    async def _delete(self) -> None:
        """Delete every person that was created, as far as possible."""
        report = self._report
        self._say("deleting the test person")
        if report.in_doubt:
            await asyncio.sleep(self._pace.settle_s)  # a request without a reply may still arrive
            await self._search()
            report.in_doubt = not report.ids
        for number, user_id in enumerate(tuple(report.ids)):
            request = self._requests.delete_end_user(user_id)
            reply = await self._api.reply(request)
            found = await self._shows(self._requests.find_by_id(user_id))
            if number == 0:
                self._note("delete_status", reply, lambda one: Seen(str(one.status)))
                if found is not None:
                    self._seen["delete_delay_s"] = reading.presence(found)
            accepted = isinstance(reply, HttpResponse) and not reading.is_refused(reply)
            if accepted or found is False:
                report.ids.remove(user_id)

    # Questions about people

    async def _look_up(self) -> bool | None:
        """Look for the new person; return whether the list by e-mail shows the person."""
        requests, email = self._requests, self._person.emails[0]
        found = await self._shows(requests.find_by_email(email))
        if found is not None:
            self._seen["lookup_by_email"] = reading.presence(found)
        nobody = requests.find_by_external_id(f"{self._person.external_id}-nobody")
        self._note("lookup_absent", await self._api.reply(nobody), reading.lookup_absent)
        return await self._shows(requests.list_by_email(email))

    async def _compare_lists(self, *, before: bool | None, is_listed: bool) -> None:
        after = None
        if is_listed:
            after = await self._shows(self._requests.list_by_email(self._person.emails[0]))
        if before is not None:
            self._seen["list_shows"] = reading.list_shows(before, after)

    async def _repeat_email(self) -> None:
        again = create_form(UpsertEndUser(email=self._person.emails[0]))
        self._note("email_taken_status", await self._create(again), reading.email_taken)

    async def _repeat_others(self, user_id: int) -> None:
        """Create people with the same phone number and with the same external id."""
        _, second, third = self._person.emails
        number = self._person.phone_number
        key = "duplicate_phone_number"
        reply = await self._put(user_id, create_form(UpsertEndUser(phone_number=number)))
        if isinstance(reply, HttpResponse) and not reading.is_refused(reply):
            reply = await self._create(
                create_form(UpsertEndUser(email=second, phone_number=number))
            )
        self._note(key, reply, reading.duplicate)
        same = UpsertEndUser(email=third, external_id=self._person.external_id)
        reply = await self._create(create_form(same))
        self._note("duplicate_external_id", reply, reading.duplicate)

    async def _change(self, user_id: int) -> None:
        """Change properties, and give one a value that does not fit its name."""
        changed = {reading.PROPERTY_SET: "second"}
        reply = await self._put(user_id, property_fields(changed))
        properties = await self._properties(user_id)
        self._seen["put_properties"] = _either(
            reply, properties, lambda _, held: reading.put_properties(held)
        )
        wrong = {**changed, reading.PROPERTY_TYPED: reading.NO_DATE}
        reply = await self._put(user_id, property_fields(wrong))
        properties = await self._properties(user_id)
        self._seen["typed_properties"] = _either(reply, properties, reading.typed_properties)

    async def _put(self, user_id: int, form: Form) -> HttpResponse | Seen:
        return await self._api.reply(self._requests.update_end_user(user_id, form))

    async def _properties(self, user_id: int) -> dict[str, Any] | Seen:
        records = await self._records(self._requests.find_by_id(user_id))
        if isinstance(records, Seen):
            return records
        for one in records:
            if self._person.own_id(one) is not None and isinstance(one.get("properties"), dict):
                return dict(one["properties"])
        return Seen(reading.UNKNOWN, "the look-up by id shows no properties")

    # Questions about responses

    def _response(self, number: int) -> CreateResponse:
        return self._person.response(number, created_at=int(time.time()) - reading.AGE_S)

    async def _survey(self, user_id: int) -> bool:
        """Send two responses, the first twice; return whether the first was listed."""
        first, last = self._response(1), self._response(2)
        reply = await self._send_response(user_id, first, "1")
        self._note("survey_reply", reply, reading.survey_reply)
        if isinstance(reply, HttpResponse) and reading.is_refused(reply):
            return False
        took_s = await self._until_listed(user_id, first, at_least=1)
        if took_s is None:
            within_s = self._pace.listed_within_s
            self._seen["survey_delay_s"] = Seen(reading.UNKNOWN, f"more than {within_s:.0f}")
            return False
        self._seen["survey_delay_s"] = Seen(f"{took_s:.1f}")
        for one in await self._listed(user_id, first):
            self._seen["survey_time"] = reading.survey_time(one, first.created_at or 0)
        sent = [
            await self._send_response(user_id, first, "1"),
            await self._send_response(user_id, last, "2"),
        ]
        if all(isinstance(one, HttpResponse) and not reading.is_refused(one) for one in sent):
            await self._count_responses(user_id, last)
        return True

    async def _count_responses(self, user_id: int, last: CreateResponse) -> None:
        """Count once the last response is listed: then the repeated one is, if it ever is."""
        if await self._until_listed(user_id, last, at_least=3) is None:
            return
        await asyncio.sleep(self._pace.settle_s)
        listed = await self._listed(user_id, last)
        self._seen["unique_link"] = reading.unique_link(len(listed))

    async def _send_response(
        self, user_id: int, response: CreateResponse, number: str
    ) -> HttpResponse | Seen:
        request_id = f"{self._person.external_id}-{number}"
        return await self._api.reply(
            self._requests.create_survey(user_id, response, request_id=request_id)
        )

    async def _listed(self, user_id: int, kind: CreateResponse) -> list[dict[str, Any]]:
        records = await self._records(self._requests.list_surveys(user_id, kind, page=1))
        if isinstance(records, Seen):
            return []
        return [one for one in records if replies.identifier(one) is not None]

    async def _until_listed(
        self, user_id: int, response: CreateResponse, *, at_least: int
    ) -> float | None:
        """Return after how many seconds a response is listed; None if it is not in time.

        A list of ``at_least`` responses counts too: Wootric may change a text.
        """
        began = time.monotonic()
        for wait_s in self._pace.waits():
            records = await self._listed(user_id, response)
            took_s = time.monotonic() - began
            if len(records) >= at_least or any(one.get("text") == response.text for one in records):
                return took_s
            if took_s + wait_s > self._pace.listed_within_s:
                return None
            self._say(f"a response is not listed after {took_s:.0f} s, polling again")
            await asyncio.sleep(wait_s)
        return None

    # The pixel

    async def _load_pixel(self) -> None:
        page = PageView(
            url="https://example.com/wootric-stream-probe",
            random="0.5",
            email=self._person.emails[0],
        )
        self._note("pixel", await self._api.load_pixel(page), reading.pixel)


def _either(
    reply: HttpResponse | Seen,
    properties: dict[str, Any] | Seen,
    read: Callable[[HttpResponse, dict[str, Any]], Seen],
) -> Seen:
    if isinstance(reply, Seen):
        return reply
    return properties if isinstance(properties, Seen) else read(reply, properties)
