"""What stands before every request: the key, the limits of size, the headers, and the last net.

A plain ASGI layer, outermost, so that no request and no fault gets past it: an unknown path without a
key is told nothing but 401, and a fault of ours becomes one JSON line. The log gets the fault's kind and
place, never its words: they could hold a query or a visitor's id.
"""

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import PurePath
from typing import Any

from jobs.console import Problem, say
from models.serving.faults import Fault, told
from models.serving.keys import VISITORS, rights_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/", "/page.js", "/page.css", "/icon.svg", "/health"})  # paths without a key
PERSONAL = ("/recommend", "/events", "/receipts/", "/metrics")  # paths that the right to visitors opens
LARGEST_BODY = 256 * 1024  # bytes
SLOWEST_BODY = 10.0  # seconds

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """An ASGI layer around the API of one shop."""

    def __init__(self, app: App, keys: dict[str, str]) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through if it may pass; answer it here if it may not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # a websocket: there are none
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        try:
            rights = rights_of(given_key(scope), self._keys)
            if scope["path"] not in OPEN and rights is None:
                raise Fault(
                    401,
                    "the API key is missing or wrong",
                    where="header X-API-Key",
                    do="send the key that lies in the shop's keys/api.key",
                )
            scope["rights"] = rights or frozenset()
            if scope["path"].startswith(PERSONAL):
                require(scope, VISITORS)
            await self._app(scope, await _whole(scope, receive), answer)
        except Exception as fault:
            if not isinstance(fault, Fault):
                say(f"error: the API failed with {type(fault).__name__} at {_place(fault)}")
            if not begun:
                await _tell(fault, answer)


def require(scope: Scope, right: str) -> None:
    """A `Fault` (403) if the key of this request has not got a right."""
    if right not in scope["rights"]:
        raise Fault(
            403,
            "this key may not ask about visitors",
            where="header X-API-Key",
            do="send the key that lies in the shop's keys/api.key",
        )


def given_key(scope: Scope) -> str:
    """The key that a request brings: X-API-Key, or Authorization: Bearer; empty if none."""
    headers = {name.lower(): value for name, value in scope["headers"]}
    plain = headers.get(b"x-api-key", b"").decode("latin-1")
    bearer = headers.get(b"authorization", b"").decode("latin-1")
    return plain or (bearer[7:].strip() if bearer[:7].lower() == "bearer " else "")


async def _whole(scope: Scope, receive: Receive) -> Receive:
    """Read the body within its limits, and give it to the app in one piece."""
    if scope["method"] in {"GET", "HEAD", "OPTIONS", "DELETE"}:
        return receive
    parts, more, size = [], True, 0
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Fault(400, "the request ended before its body did", where="body")
                parts.append(message.get("body", b""))
                size, more = size + len(parts[-1]), message.get("more_body", False)
                if size > LARGEST_BODY:
                    raise Fault(413, "the body is too large", where="body", do=f"send at most {LARGEST_BODY:,} bytes")
    except TimeoutError:
        raise Fault(408, "the body came too slowly", where="body", do="send it again") from None
    body: Message | None = {"type": "http.request", "body": b"".join(parts), "more_body": False}

    async def once() -> Message:
        nonlocal body
        given, body = body, None
        return given if given is not None else await receive()

    return once


async def _tell(fault: Exception, send: Send) -> None:
    known = fault if isinstance(fault, Fault) else _masked(fault)
    body = json.dumps(told(known), ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if known.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": known.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _masked(fault: Exception) -> Fault:
    """What a caller may know of an unforeseen fault: a `Problem` of ours without its place, else nothing."""
    if isinstance(fault, Problem):
        return Fault(503, fault.what, do=fault.do)
    return Fault(500, "the API failed on this request", do="look at the server's own words, on its standard error")


def _place(fault: Exception) -> str:
    """File and line where a fault arose, without its words."""
    frames = traceback.extract_tb(fault.__traceback__)
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
