"""RudderStack's documented sequence for Wootric, as a policy to compare with.

Each identify and each survey looks the end user up by external id and then writes; nothing is
remembered, merged or left out, and page views are not supported. Source: rudder-transformer
@ c98d160c, src/v0/destinations/wootric. What it refuses costs it nothing here, it never waits
for a reply, and a 429 costs it no more than the wait until the limit is renewed.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson

from stream.devtools.wootric_emulator.api import Api, Call, EmulatorReply
from stream.devtools.wootric_emulator.behaviour import Behaviour

SURVEYS = {"create response": "responses", "create decline": "declines"}
WINDOW_S = 60
TOKEN = "/oauth/token"
TOKEN_S = 6000.0  # it is kept for 100 minutes


@dataclass
class RudderStack:
    """Sends events one after another; ``now`` is its clock (Unix seconds)."""

    per_minute: int | None = None
    now: float = 1_772_438_400.0
    requests: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._api = Api(Behaviour(), lambda: self.now)
        self._bearer = ""
        self._token_until = 0.0

    def limit(self, per_minute: int | None) -> None:
        self._api.account.behaviour = Behaviour(rate_limit_per_minute=per_minute)
        self.requests.clear()

    def send(self, event: dict[str, Any]) -> None:
        """Do what the destination does for one event."""
        user_id = event.get("userId")
        if event["type"] == "identify" and isinstance(event["traits"].get("email"), str):
            found = self._find(user_id)
            path = "/v1/end_users" if found is None else f"/v1/end_users/{found}"
            method, name = (
                ("POST", "create_end_user") if found is None else ("PUT", "update_end_user")
            )
            self._call(name, method, path, self._profile(event, new=found is None))
        survey = SURVEYS.get(event["integrations"].get("Wootric", {}).get("eventType", ""))
        if survey is not None and event["properties"].get("score", 0) in range(11):
            found = self._find(user_id, "find_for_survey")
            if found is not None:
                form = self._answer(event, scored=survey == "responses")
                self._call(survey, "POST", f"/v1/end_users/{found}/{survey}", form)

    def _find(self, user_id: str, name: str = "find_end_user") -> int | None:
        path = f"/v1/end_users/{user_id}"
        reply = self._call(name, "GET", path, query="lookup_by_external_id=true")
        return orjson.loads(reply.body)["id"] if reply.status == 200 else None

    def _call(
        self, name: str, method: str, path: str, form: dict[str, Any] | None = None, query: str = ""
    ) -> EmulatorReply:
        while True:
            if path != TOKEN and self.now >= self._token_until:
                self._renew()
            reply = self._api.answer(Call(method, path, query, urlencode(form or {}), self._bearer))
            if reply.status != 429:
                break
            self.now = (self.now // WINDOW_S + 1) * WINDOW_S
        self.requests[name] += 1
        assert reply.status < 400 or reply.status == 404, (name, reply)
        return reply

    def _renew(self) -> None:
        grant = {"grant_type": "password", "username": "u", "password": "p"}
        token = orjson.loads(self._call("token", "POST", TOKEN, grant).body)
        self._bearer = f"Bearer {token['access_token']}"
        self._token_until = self.now + TOKEN_S

    @staticmethod
    def _profile(event: dict[str, Any], *, new: bool) -> dict[str, Any]:
        traits = event["traits"]
        identity = {"external_id": event["userId"]} if new else {}
        left_out = {"email", "createdAt"}
        properties = {
            f"properties[{name}]": str(value)
            for name, value in traits.items()
            if name not in left_out
        }
        return {"email": traits["email"], **identity, **properties}

    @staticmethod
    def _answer(event: dict[str, Any], *, scored: bool) -> dict[str, Any]:
        form = {"origin_url": event["properties"]["url"]}
        if scored:
            form |= {"score": event["properties"]["score"], "ip_address": event["context"]["ip"]}
        return form
