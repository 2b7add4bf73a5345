"""Between aiohttp's requests and responses and the emulator's calls and replies."""

from urllib.parse import urlencode

from aiohttp import web

from stream.devtools.wootric_emulator.call import Call, Reply

REGIONAL_BASE = "/api"
FORM = "application/x-www-form-urlencoded"


async def read(request: web.BaseRequest) -> Call:
    """Return the request as a call; a multipart form becomes a URL-encoded one."""
    path, _, query = request.raw_path.partition("?")
    base = REGIONAL_BASE if path.startswith(f"{REGIONAL_BASE}/v1/") else ""
    content_type = request.headers.get("Content-Type", "")
    form = ""
    if request.body_exists:
        if content_type.startswith("multipart/form-data"):
            fields = await request.post()
            form = urlencode([(name, str(value)) for name, value in fields.items()])
        else:
            body = await request.read()
            if content_type.startswith(FORM):
                form = body.decode("utf-8", "replace")
    authorization = request.headers.get("Authorization")
    return Call(request.method, path.removeprefix(base), query, form, authorization, base)


def respond(reply: Reply) -> web.Response:
    """Return the reply as aiohttp sends it."""
    headers = {"Content-Type": reply.content_type, **reply.headers}
    return web.Response(status=reply.status, body=reply.body, headers=headers)


async def cut(request: web.BaseRequest, reply: Reply, keep_bytes: int) -> web.StreamResponse:
    """Announce the whole body, send a part of it, and end the connection."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.headers["Content-Type"] = reply.content_type
    response.content_length = len(reply.body)
    await response.prepare(request)
    await response.write(reply.body[:keep_bytes])
    if request.transport is not None:
        request.transport.close()
    return response
