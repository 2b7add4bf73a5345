"""HTTP client of a schema registry.

Source: docs.confluent.io/platform/current/schema-registry/develop/api.html; tested with Apicurio
Registry 2.6.13, which is compatible.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from sink.http_session import HEADER_BYTES_MAX, HEADERS_MAX
from sink.proxy import proxy_for
from stream.errors import StreamError

ANSWER_BYTES_MAX = 4 * 1024 * 1024
NOT_THERE = frozenset({40401, 40402, 40403})
"""Error codes: no such subject, version or schema. Any other 404 means a wrong URL."""
CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
WORDS_LENGTH_MAX = 300
REFERENCES_MAX = 100
"""Of one schema, followed through; further ones are left out, and the schema is then unusable."""
TIMEOUT_S = 5.0
"""Of one request."""


class RegistryUnavailableError(StreamError):
    """No reply, or an unusable one: retry."""


class RegistryDeniedError(RegistryUnavailableError):
    """The registry refuses the credentials: an operator must act; until then it is unavailable."""


class NotRegisteredError(StreamError):
    """The registry does not know the schema or the subject, or not yet."""


class SchemaRejectedError(StreamError):
    """The registry rejects the service's schema: an operator must act."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema of the registry, of any kind, as text.

    ``referenced`` are the texts of the versions that it references, each after those that it
    references in turn.
    """

    id: int
    text: str
    kind: str = "AVRO"
    referenced: tuple[str, ...] = ()


class RegistryClient:
    """Client of one registry; use it as a context manager. ``password`` returns the current one.

    Every method raises RegistryUnavailableError without a usable reply.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: Callable[[], str] = lambda: "",
    ) -> None:
        self._url = url.rstrip("/")
        self._username = username
        self._password = password
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": CONTENT_TYPE},
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def schema(self, schema_id: int) -> Registered:
        """Return the schema of an id. Raises NotRegisteredError, also for its references."""
        return await self._whole(await self._ask("GET", f"/schemas/ids/{schema_id}"), schema_id)

    async def versions(self, subject: str) -> list[int]:
        """Return the numbers of a subject's versions. Raises NotRegisteredError."""
        answer = await self._ask("GET", f"/subjects/{_name(subject)}/versions")
        if isinstance(answer, list) and all(type(number) is int for number in answer):
            return sorted(answer)
        raise RegistryUnavailableError("its reply lists no versions")

    async def version(self, subject: str, number: int) -> Registered:
        """Return one version of a subject. Raises NotRegisteredError, also for its references."""
        return await self._whole(await self._version(subject, number))

    async def look_up(self, subject: str, text: str) -> int:
        """Return the id that a schema has under a subject. Raises NotRegisteredError.

        Formatting is ignored; without ``normalize``, Apicurio compares the exact text.
        """
        path = f"/subjects/{_name(subject)}?normalize=true"
        return _id(await self._ask("POST", path, {"schema": text}))

    async def register(self, subject: str, text: str) -> int:
        """Register a schema if necessary and return its id. Raises SchemaRejectedError."""
        return _id(
            await self._ask("POST", f"/subjects/{_name(subject)}/versions", {"schema": text})
        )

    async def is_compatible(self, subject: str, text: str) -> bool:
        """Return whether a schema is compatible with a subject's latest version, by its rule.

        Raises NotRegisteredError without a version, SchemaRejectedError if it is not a schema.
        """
        path = f"/compatibility/subjects/{_name(subject)}/versions/latest"
        answer = await self._ask("POST", path, {"schema": text})
        return bool(isinstance(answer, dict) and answer.get("is_compatible"))

    async def _version(self, subject: str, number: int) -> Any:
        return await self._ask("GET", f"/subjects/{_name(subject)}/versions/{number}")

    async def _whole(self, answer: Any, schema_id: int | None = None) -> Registered:
        """Return the schema of a reply, with what it references."""
        registered = _registered(answer, schema_id)
        texts: dict[tuple[str, int], str] = {}
        await self._follow(answer, texts, set())
        return replace(registered, referenced=tuple(texts.values()))

    async def _follow(
        self, answer: Any, texts: dict[tuple[str, int], str], seen: set[tuple[str, int]]
    ) -> None:
        """Add the texts of a schema's references, those that they need first."""
        for place in _references(answer):
            if place in seen or len(seen) >= REFERENCES_MAX:
                continue
            seen.add(place)
            found = await self._version(*place)
            text = _registered(found).text
            await self._follow(found, texts, seen)
            texts[place] = text

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the reply's JSON. Redirects are not followed: they could leak the credentials."""
        assert self._session is not None  # noqa: S101  (entered)
        name, password = self._username, self._password
        auth = aiohttp.BasicAuth(name, password(), "utf-8") if name else None
        data = None if body is None else orjson.dumps(body)
        headers = None if body is None else {"Content-Type": CONTENT_TYPE}
        try:
            url = URL(f"{self._url}{path}", encoded=True)
            async with self._session.request(
                method,
                url,
                proxy=proxy_for(url),
                data=data,
                headers=headers,
                auth=auth,
                allow_redirects=False,
            ) as reply:
                text = await _body(reply)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise RegistryUnavailableError(f"it does not reply ({type(error).__name__})") from error
        return _answer(reply.status, text)


async def _body(reply: aiohttp.ClientResponse) -> bytes:
    text = bytearray()
    async for piece in reply.content.iter_any():
        text += piece
        if len(text) > ANSWER_BYTES_MAX:
            raise ValueError("the reply is too long")
    return bytes(text)


def _answer(status: int, text: bytes) -> Any:
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError:
        answer = None
    if status == 200 and answer is not None:
        return answer
    fields = answer if isinstance(answer, dict) else {}
    words = str(fields.get("message", ""))[:WORDS_LENGTH_MAX]
    if status == 404 and fields.get("error_code") in NOT_THERE:
        raise NotRegisteredError(words)
    if status in (409, 422):
        raise SchemaRejectedError(words)
    if status in (401, 403):
        raise RegistryDeniedError("it refuses the credentials")
    raise RegistryUnavailableError(
        f"it replies with status {status}, which is not a registry's reply"
    )


def _registered(answer: Any, schema_id: int | None = None) -> Registered:
    match answer:
        case {"schema": str(text)}:
            kind = str(answer.get("schemaType", "AVRO"))
            return Registered(_id(answer) if schema_id is None else schema_id, text, kind)
        case _:
            raise RegistryUnavailableError("its reply has no schema")


def _references(answer: Any) -> Iterator[tuple[str, int]]:
    """Yield (subject, version) of a schema's references."""
    references = answer.get("references")
    for one in references if isinstance(references, list) else ():
        match one:
            case {"subject": str(subject), "version": int(version)}:
                yield subject, version
            case _:
                raise RegistryUnavailableError("its reply has a reference without a version")


def _id(answer: Any) -> int:
    match answer:
        case {"id": int(number)}:
            return number
        case _:
            raise RegistryUnavailableError("its reply has no id")


def _name(subject: str) -> str:
    return quote(subject, safe="")
