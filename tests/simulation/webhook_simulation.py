"""The same core before a second destination: a webhook that holds each event once, by its key."""

from collections import Counter
from random import Random

from core_simulation import CoreWorld, judge_events
from scenario import POISON, USERS, to_settle
from webhook import Post, read_post
from world import LATE_MAX_S, REQUEST_TIMEOUT_S, Done, Later, Settings, World, check

from sink.delivery import Deferred, Delivered, Delivery, InDoubt, Rejected
from stream.record import Deliver, Partition

TROUBLES = ("request_lost", "reply_lost", "late", "late", "throttled")


def post(dice: Random, user: str, number: int, kind: int) -> Post:
    """Return an event as it is posted; one of them is refused."""
    message_id = f"{POISON}{number}" if kind == 3 else f"m{number}"
    return Post(message_id=message_id, external_id=user)


class SimulatedWebhook:
    """The webhook and the sink before it; ``held`` maps keys to what came with them first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.held: dict[str, Post] = {}

    def deliver(self, delivery: Delivery, worker: str, later: Later, done: Done) -> None:
        """Begin; ``later`` is the worker's own time, ``done`` takes the outcome."""
        waits_s = 0.0 if self._world.weather.fair else self._world.dice.choice((0.0, 0.2, 3.0))
        later(waits_s, lambda: self._send(delivery, worker, later, done))

    def _send(self, delivery: Delivery, worker: str, later: Later, done: Done) -> None:
        world, now, operation = self._world, self._world.now, delivery.operation
        assert isinstance(operation, Post)
        if not delivery.may_send():
            done(Deferred(reason="lease", retry_at=now))
            return
        key, place = delivery.request_id, USERS[operation.external_id or ""]
        departure = world.witness.departing(worker, place, operation, key, operation.type, now)
        fate = world.weather.fate(TROUBLES)
        world.say(worker, "sends", operation.type, key[:6], fate)
        took_s = world.dice.uniform(0.01, REQUEST_TIMEOUT_S - 0.3)
        refused = operation.message_id.startswith(POISON)

        def execute() -> None:
            if not refused and key not in self.held:
                world.witness.happened(departure)
                self.held[key] = operation

        match fate:
            case "throttled":
                later(took_s, lambda: done(Deferred(reason=fate, retry_at=now + took_s)))
            case "request_lost" | "reply_lost" | "late":
                slowest = REQUEST_TIMEOUT_S + LATE_MAX_S if fate == "late" else took_s
                if fate != "request_lost":
                    world.at(world.dice.uniform(took_s, slowest), execute)
                in_doubt = InDoubt(detail=fate, sent_at=now + REQUEST_TIMEOUT_S)
                later(REQUEST_TIMEOUT_S, lambda: done(in_doubt))
            case _ if refused:
                later(took_s, lambda: done(Rejected(reason="invalid", detail="", status=422)))
            case _:
                world.at(took_s * world.dice.random(), execute)
                later(took_s, lambda: done(Delivered()))


class WebhookSimulation(CoreWorld):
    """One schedule of the core before the webhook."""

    read_operation = staticmethod(read_post)

    def __init__(self, seed: int, settings: Settings) -> None:
        super().__init__(seed, settings, post)
        self.sink = self.webhook = SimulatedWebhook(self)
        self.begin(settings.workers)

    def judge(self) -> None:
        """Compare what the webhook holds with what the events say: each once, in their order."""
        wanted: dict[str, list[str]] = {user: [] for user in USERS}
        letters: Counter[tuple[Partition, int]] = Counter()
        receipts = set()
        for event in to_settle(self.script):
            place = event.record.partition
            receipts.add((place, event.event_id))
            match event.result:
                case Deliver(operation=Post() as one) if not one.message_id.startswith(POISON):
                    wanted[event.result.lane].append(one.message_id)
                case _:
                    letters[place, event.record.offset] += 1
        held: dict[str, list[str]] = {user: [] for user in USERS}
        for one in self.webhook.held.values():
            held[one.external_id or ""].append(one.message_id)
        check("events, once and in order [2, 8]", held, wanted)
        check("parked [2]", self.witness.parked.total(), 0)
        judge_events(self.witness, letters, receipts)
