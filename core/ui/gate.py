"""The gate before the server: with accounts, what carries content is answered only to those who are signed in.

Everything is closed but Streamlit's own front end, its health, the routes of signing in, and the websocket, on which
the router shows the page to sign in to those without a cookie that counts. A page's address leads there too.

A cookie counts as Streamlit counts it (its signature, its age, its origin) and further: the person is in the table,
has a role, and did not sign out since it was signed. One that does not count is taken off the request, so Streamlit
never sees it; on a websocket that is judged again with every message, and a socket whose cookie no longer counts
is closed.

What this leaves open: the links of media and downloads name the hash of their content and not a person, so one who is
signed in and is told such a link by another can open it while it lives. Everybody with a role may see everything, so
that gives nothing away that the pages would not show them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote, unquote

from google.protobuf.message import DecodeError
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import cookie_parser
from streamlit import config
from streamlit.auth_util import get_cookie_with_chunks
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from core.settings import Accounts, accounts
from core.ui.accounts import known, known_again
from core.workflows import people
from core.workflows.acting import VIEWER
from db.tables import Person

_OPEN = ("/", "/favicon.png", "/auth/login", "/auth/logout", "/oauth2callback")
_OPEN_SUFFIXES = ("/_stcore/health", "/_stcore/host-config")  # a cold deep link asks for them under its own path
_FRONT_END = "/static/"
_SOCKET = "/_stcore/stream"
_CONTENT = ("_stcore", "media", "app", "component", "static", "auth")  # first parts of paths that are no page's
_FOR_ALL = ("rerun_script", "stop_script", "app_heartbeat")  # what the page to sign in needs of a websocket
_DRAW = BackMsg(rerun_script=ClientState()).SerializeToString()
_NO_PROVIDER = (
    b"<!doctype html><meta charset=utf-8><title>Subhull</title><body style='font-family: sans-serif; margin: 3rem'>"
    b"<p>Signing in did not work: the provider of accounts does not answer, or refused. Try again in a minute; "
    b"if it stays so, tell an administrator, whose log says why.</p><p><a href='./..'>Back to Subhull</a></p>"
)
_RETURN = "subhull_return"  # the cookie that remembers where somebody wanted to go
_RETURN_S, _RETURN_MOST = 600, 2000

log = logging.getLogger(__name__)


class Gate:
    """ASGI middleware; without accounts everything passes."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        here = accounts() if scope["type"] in ("http", "websocket") else None
        if here is None:
            await self._app(scope, receive, send)
            return
        cookies = cookies_of(scope)
        person = await asyncio.to_thread(judge, cookies, here)
        may_look = person is not None and people.as_acting(person).may(VIEWER)
        path = _path(scope)
        if person is None:
            scope = _without_cookie(scope)
        if scope["type"] == "websocket":
            if path != _SOCKET:
                await send({"type": "websocket.close", "code": 1008})
            elif may_look:
                await self._app(scope, _Watched(receive, send, cookies, here), send)
            else:
                fresh, had_session = _as_new_session(scope)
                await self._app(fresh, _Strange(receive, send, had_session), send)
        elif may_look or _is_open(path, scope["method"]):
            if path == "/auth/logout" and person:
                await _signed_out(person)
            is_open = _is_open(path, scope["method"])
            answer = _Answer(send, cookies, here, path) if is_open else _Private(send)
            await self._app(scope, receive, answer)
        else:
            await _refuse(scope, send, path)


class _Watched:
    """What a websocket receives, for as long as its cookie counts."""

    def __init__(self, receive: Any, send: Any, cookies: Mapping[str, str], here: Accounts) -> None:
        self._receive, self._send, self._cookies, self._here = receive, send, cookies, here

    async def __call__(self) -> Any:
        message = await self._receive()
        if message["type"] == "websocket.receive":
            person = await asyncio.to_thread(judge, self._cookies, self._here)
            if person is None or not people.as_acting(person).may(VIEWER):
                return await _closed(self._send, "signed out")
        return message


class _Strange:
    """What a websocket receives of somebody without a role: the page to sign in is drawn, and nothing else made.

    A browser that comes back to its session asks for nothing; it is drawn for that one too (`had_session`).
    """

    def __init__(self, receive: Any, send: Any, had_session: bool) -> None:
        self._receive, self._send, self._draw, self._connected = receive, send, had_session, False

    async def __call__(self) -> Any:
        if self._connected and self._draw:
            self._draw = False
            return {"type": "websocket.receive", "bytes": _DRAW}
        message = await self._receive()
        self._connected = True
        if message["type"] == "websocket.receive" and _kind(message.get("bytes") or b"") not in _FOR_ALL:
            return await _closed(self._send, "sign in first")
        return message


async def _closed(send: Any, reason: str) -> dict[str, Any]:
    """Close the browser's end, so that it comes back for the page to sign in; returns what the app is told."""
    with suppress(RuntimeError):  # the app closed it meanwhile
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
    return {"type": "websocket.disconnect", "code": 1008, "reason": reason}


class _Private:
    """What content is answered with: no cache gives it away later, not the browser's own after signing out either."""

    def __init__(self, send: Any) -> None:
        self._send = send

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [(k, v) for k, v in message.get("headers", []) if k != b"cache-control"]
            message = {**message, "headers": [*headers, (b"cache-control", b"private, no-cache")]}
        await self._send(message)


class _Answer:
    """What an open route answers: somebody who comes back from the provider is kept, and led where they wanted to."""

    def __init__(self, send: Any, cookies: Mapping[str, str], here: Accounts, path: str) -> None:
        self._send, self._cookies, self._here, self._path = send, cookies, here, path
        self._failed = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.body" and self._failed:
            await self._send({**message, "body": b"" if message.get("more_body") else _NO_PROVIDER})
            return
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", []))
            self._failed = message["status"] >= 400 and self._path in ("/auth/login", "/oauth2callback")
            if self._failed:
                kept = [(k, v) for k, v in headers if k not in (b"content-length", b"content-type")]
                headers = [*kept, (b"content-type", b"text/html; charset=utf-8")]
            if self._path == "/oauth2callback" and (claims := claims_of(_set_cookies(headers), self._here)):
                try:
                    await asyncio.to_thread(people.sign_in, claims)
                except Exception:  # the page will say what is wrong, or keep the person then
                    log.exception("somebody who signed in could not be kept")
                headers = _led_back(headers, self._cookies)
            if self._here.origin.startswith("https:"):
                headers = [(k, v + b"; Secure" if k == b"set-cookie" and b"Secure" not in v else v) for k, v in headers]
            message = {**message, "headers": headers}
        await self._send(message)


def judge(cookies: Mapping[str, str], here: Accounts) -> Person | None:
    """Whom the cookies of a request belong to; None where they do not count. Who has no role is somebody too."""
    claims = claims_of(cookies, here)
    person = known(claims) if claims else None
    if person is None or (person.signed_out is not None and _signed_at(cookies, here) < person.signed_out):
        return None
    return person


async def _signed_out(person: Person) -> None:
    """Their cookies end, on other servers as soon as they look again; the answer waits until new ones count (1 s)."""
    ends = await asyncio.to_thread(people.sign_out, {"sub": person.subject, "iss": person.issuer})
    known_again()
    await asyncio.sleep(min(1.0, max(0.0, ends - time.time())) + 0.01)


def claims_of(cookies: Mapping[str, str], here: Accounts) -> dict[str, Any] | None:
    """What a cookie says that Streamlit signed for this origin and that is not too old; None for any other."""

    def one(name: str) -> bytes | None:
        value = cookies.get(name)
        return None if value is None else decode_signed_value(here.cookie_secret, name, value.encode("latin-1"))

    try:
        raw = get_cookie_with_chunks(one, USER_COOKIE_NAME)
        claims = json.loads(raw) if raw else None
    except (ValueError, UnicodeError):
        return None
    if not isinstance(claims, dict) or claims.get("origin") != here.origin or claims.get("is_logged_in") is not True:
        return None
    return claims


def cookies_of(scope: Any) -> dict[str, str]:
    """Of a request, as Streamlit parses them."""
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        if key == b"cookie":
            found |= cookie_parser(value.decode("latin-1"))
    return found


def _signed_at(cookies: Mapping[str, str], here: Accounts) -> float:
    """When a cookie that counts was signed, whole seconds since 1970."""
    serializer = URLSafeTimedSerializer(here.cookie_secret, salt=USER_COOKIE_NAME)
    try:
        _, at = serializer.loads(cookies[USER_COOKIE_NAME], return_timestamp=True)
    except (BadData, KeyError):
        return 0.0
    return float(at.timestamp())


def _kind(message: bytes) -> str | None:
    """What a message of the front end asks for; None for what is no message."""
    try:
        kind: str | None = BackMsg.FromString(message).WhichOneof("type")
    except DecodeError:
        return None
    return kind


def _path(scope: Any) -> str:
    """Without the path under which the whole app may lie."""
    path, base = str(scope["path"]), "/" + str(config.get_option("server.baseUrlPath") or "").strip("/")
    if base != "/" and (path == base or path.startswith(base + "/")):
        return path[len(base) :] or "/"
    return path


def _is_open(path: str, method: str) -> bool:
    if method not in ("GET", "HEAD"):
        return False
    return path in _OPEN or path.startswith(_FRONT_END) or path.endswith(_OPEN_SUFFIXES)


def _without_cookie(scope: Any) -> Any:
    """The request as of somebody who never signed in. The other cookies stay: the way to the provider needs them."""
    kept = {k: v for k, v in cookies_of(scope).items() if not k.startswith(USER_COOKIE_NAME)}
    headers = [(k, v) for k, v in scope["headers"] if k != b"cookie"]
    if kept:
        headers.append((b"cookie", "; ".join(f"{k}={v}" for k, v in kept.items()).encode("latin-1")))
    return {**scope, "headers": headers}


def _as_new_session(scope: Any) -> tuple[Any, bool]:
    """A websocket that takes up no session from before, whose live parts would run again; did it want to?"""
    headers, had_session = [], False
    for key, value in scope["headers"]:
        if key == b"sec-websocket-protocol":
            protocols = value.split(b",")
            had_session = len(protocols) > 2  # the third names the session
            value = b",".join(protocols[:2])
        headers.append((key, value))
    return {**scope, "headers": headers}, had_session


async def _refuse(scope: Any, send: Any, path: str) -> None:
    """A page's address leads to the page to sign in, which leads back there; the rest is refused, all alike."""
    is_page = scope["method"] in ("GET", "HEAD") and path.strip("/").split("/")[0] not in _CONTENT
    headers = [(b"cache-control", b"no-store"), (b"content-type", b"text/plain; charset=utf-8")]
    body = b"Sign in first."
    if is_page:
        base = str(config.get_option("server.baseUrlPath") or "").strip("/")
        headers.append((b"location", f"/{base}/".replace("//", "/").encode()))
        wanted = quote(str(scope["path"]) + "?" + scope["query_string"].decode("latin-1"), safe="")
        if len(wanted) <= _RETURN_MOST:
            cookie = f"{_RETURN}={wanted}; Path=/; Max-Age={_RETURN_S}; HttpOnly; SameSite=Lax"
            headers.append((b"set-cookie", cookie.encode("latin-1")))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 302 if is_page else 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _set_cookies(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The cookies that an answer sets."""
    jar: SimpleCookie = SimpleCookie()
    for key, value in headers:
        if key == b"set-cookie":
            jar.load(value.decode("latin-1"))
    return {name: morsel.value for name, morsel in jar.items() if morsel.value}


def _led_back(headers: list[tuple[bytes, bytes]], cookies: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """To the page that was asked for before signing in, if one was. Only paths of this app are followed."""
    wanted = unquote(cookies.get(_RETURN, "")).rstrip("?")
    if not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted or not wanted.isprintable():
        return headers
    kept = [(k, v) for k, v in headers if k != b"location"]
    gone = f"{_RETURN}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    return [*kept, (b"location", quote(wanted, safe="/?=&%").encode()), (b"set-cookie", gone.encode())]
