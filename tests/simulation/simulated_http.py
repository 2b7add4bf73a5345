"""The way to Wootric on simulated time: the real emulator's answers, lost, late and refused.

It stands where ``sink.http_session.HttpSession`` stands, and says what is known in the same words.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from invariants import Departure
from scenario import POISON, USERS, Survey
from world import LATE_MAX_S, REQUEST_TIMEOUT_S, Later, World

from sink.delivery import Delivery
from sink.models import HttpResponse, LeaseExpired, NoResponse, NotSent, Request, SendResult
from sink.wootric.operations import PageView
from stream.devtools.wootric_emulator.api import Api, Call
from stream.devtools.wootric_emulator.api import EmulatorReply as Answer
from stream.devtools.wootric_emulator.behaviour import Behaviour

UNIX_AT_START = 1_700_000_000.0


class Known(StrEnum):
    """What a worker learns of its request."""

    ANSWER = "answer"
    CUT = "answer that breaks off"
    REFUSAL = "refusal"
    RESET = "reset"
    NOTHING = "nothing"
    NOT_SENT = "not sent"


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a request: whether it arrives, perhaps late, and what is known of it."""

    arrives: bool
    known: Known
    late: bool = False
    refusals: tuple[tuple[int, dict[str, str]], ...] = ()
    revokes: bool = False
    """Whether Wootric forgets all tokens before."""


FATES = {
    "fine": Fate(arrives=True, known=Known.ANSWER),
    "unauthorized": Fate(arrives=True, known=Known.ANSWER, revokes=True),
    "cut": Fate(arrives=True, known=Known.CUT),
    "not_sent": Fate(arrives=False, known=Known.NOT_SENT),
    "request_lost": Fate(arrives=False, known=Known.NOTHING),
    "reply_lost": Fate(arrives=True, known=Known.NOTHING),
    "reset": Fate(arrives=True, known=Known.RESET),
    "late": Fate(arrives=True, known=Known.NOTHING, late=True),
    "failed": Fate(arrives=False, known=Known.REFUSAL, refusals=((500, {}), (502, {}), (408, {}))),
    "failed_after": Fate(arrives=True, known=Known.REFUSAL, refusals=((500, {}), (502, {}))),
    "throttled": Fate(
        arrives=False,
        known=Known.REFUSAL,
        refusals=((429, {}), (429, {"Retry-After": "1"}), (429, {"Retry-After": "garbage"})),
    ),
    "busy": Fate(arrives=False, known=Known.REFUSAL, refusals=((503, {"Retry-After": "2"}),)),
    "forbidden": Fate(arrives=False, known=Known.REFUSAL, refusals=((403, {}), (402, {}))),
}
TROUBLES = (*sorted(FATES.keys() - {"fine", "forbidden"}), "late", "throttled")

HEARD_S = 0.001
"""What left in the very moment in which the answer came is forgiven."""

UNDER_WAY: ContextVar[Delivery] = ContextVar("under_way")


class Server:
    """The emulator's core, on the simulation's clock, and what it tells the witness."""

    def __init__(self, world: World, behaviour: Behaviour) -> None:
        self._world = world
        self.api = Api(behaviour, lambda: UNIX_AT_START + world.now)

    def answer(self, call: Call, delivery: Delivery | None, departure: Departure | None) -> Answer:
        """Do what a call asks for, and let the witness see what came of it."""
        if POISON in call.form:
            return Answer.of(422, {"error": "Validation failed: properties"})
        effects = self.api.account.state.effects
        before = len(effects)
        answer = self.api.answer(call)
        if departure is not None and delivery is not None and len(effects) > before:
            operation = delivery.operation
            self._world.say("Wootric does", effects[-1].kind, delivery.request_id[:6])
            self._world.witness.happened(departure)
            if isinstance(operation, Survey) and effects[-1].kind == operation.type:
                self._world.witness.recorded(effects[-1].id, operation)
            if isinstance(operation, PageView):
                self._world.witness.views[operation.random] += 1
        return answer


class SimulatedHttp:
    """One worker's requests."""

    def __init__(self, world: World, server: Server, worker: str, later: Later) -> None:
        self._world = world
        self._server = server
        self._worker = worker
        self._later = later
        self._closed_until = {"api": 0.0, "pixel": 0.0, "token": 0.0}

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        may_send: Callable[[], bool] = lambda: True,
    ) -> SendResult:
        """Send a request at most once and return what is known of it."""
        world = self._world
        host = {"page_view": "pixel", "token": "token"}.get(request.name, "api")
        if host != "token" and request.name != "probe":
            early = world.now < self._closed_until[host]
            world.witness.require(not early, "sent though told to wait [16]", request.name)
        await asyncio.sleep(world.dice.choice((0.0, 0.02, 0.3)))
        if not may_send():
            return LeaseExpired()
        delivery = UNDER_WAY.get() if request.writes else None
        departure = None if delivery is None else self._depart(request, delivery)
        call = Call(
            method=request.method,
            path=request.url.raw_path,
            query=request.url.raw_query_string,
            form=(request.body or b"").decode(),
            authorization=headers.get("Authorization"),
        )
        fate = self._fate(request)
        world.say(self._worker, "sends", request.name, fate)
        future = asyncio.get_running_loop().create_future()
        self._follow(FATES[fate], call, delivery, departure, future)
        evidence: SendResult = await future
        wait = evidence.headers.get("Retry-After", "") if isinstance(evidence, HttpResponse) else ""
        if wait.isdigit():
            until = max(self._closed_until[host], world.now + float(wait))
            self._later(HEARD_S, lambda: self._closed_until.update({host: until}))
        return evidence

    def _depart(self, request: Request, delivery: Delivery) -> Departure:
        operation = delivery.operation
        return self._world.witness.departing(
            self._worker,
            USERS[operation.external_id or ""],
            operation,
            delivery.request_id,
            request.name,
            self._world.now,
        )

    def _fate(self, request: Request) -> str:
        weather = self._world.weather
        if request.name != "token" and weather.forbids(self._world.now):
            return "forbidden"
        return weather.fate(TROUBLES)

    def _follow(
        self,
        fate: Fate,
        call: Call,
        delivery: Delivery | None,
        departure: Departure | None,
        future: "asyncio.Future[SendResult]",
    ) -> None:
        """Let happen to a request what its fate is, there and on the way back."""
        world, dice = self._world, self._world.dice
        took_s = dice.uniform(0.01, REQUEST_TIMEOUT_S - 0.3)

        def arrive() -> Answer:
            return self._server.answer(call, delivery, departure)

        if fate.revokes:
            self._server.api.tokens.revoke_all()
        if fate.late:
            world.at(dice.uniform(took_s, REQUEST_TIMEOUT_S + LATE_MAX_S), arrive)
        elif fate.arrives and fate.known not in {Known.ANSWER, Known.CUT}:
            world.at(took_s * dice.random(), arrive)
        match fate.known:
            case Known.ANSWER | Known.CUT:
                self._exchange(took_s, arrive, future, cut=fate.known is Known.CUT)
            case Known.REFUSAL:
                self._tell(took_s, future, HttpResponse(*dice.choice(fate.refusals), b""))
            case Known.RESET:
                self._tell(took_s, future, NoResponse("ServerDisconnectedError"))
            case Known.NOTHING:
                self._tell(REQUEST_TIMEOUT_S, future, NoResponse("TimeoutError"))
            case Known.NOT_SENT:
                self._tell(took_s, future, NotSent("ClientConnectorError"))

    def _exchange(
        self,
        took_s: float,
        arrive: Callable[[], Answer],
        future: "asyncio.Future[SendResult]",
        *,
        cut: bool,
    ) -> None:
        """Let a request arrive and its answer come back, perhaps broken off."""
        answers: list[Answer] = []
        self._world.at(took_s * self._world.dice.random(), lambda: answers.append(arrive()))

        def back() -> None:
            (answer,) = answers
            body = None if cut else answer.body
            self._set(future, HttpResponse(answer.status, answer.headers, body))

        self._later(took_s, back)

    def _tell(self, wait_s: float, future: "asyncio.Future[Any]", evidence: SendResult) -> None:
        self._later(wait_s, lambda: self._set(future, evidence))

    @staticmethod
    def _set(future: "asyncio.Future[Any]", evidence: SendResult) -> None:
        if not future.done():
            future.set_result(evidence)
