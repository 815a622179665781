"""Somebody who is not signed in learns nothing from the running app: from no address, and not from the websocket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from websockets.exceptions import ConnectionClosed

from core.ui.gate import Gate
from core.workflows import people
from tests.accounts.conftest import (
    ADA,
    BEN,
    DATASET,
    MODEL,
    claims_of,
    download_asked,
    open_socket,
    run_page,
    sign_in,
    signed_cookie,
    talk,
    until,
)
from tests.conftest import ROOT, AppServer
from tests.oidc_provider import CLIENT_SECRET, OidcProvider

PAGES = sorted(p.stem for p in (ROOT / "pages").glob("*.py"))
STATIC = sorted(p.name for p in (ROOT / "core" / "ui" / "static").iterdir())
SECRET_WORDS = [DATASET, MODEL, "TaB2", "ada@lab", "Ada Love", CLIENT_SECRET, "/var/subhull"]
TITLES = ["Datasets", "Candidates", "Generate", "Hulls", "Modify", "People", "Models", "Jobs"]
EXPIRED_S = 32 * 86400


@pytest.fixture(scope="module")
def asked(guarded_app: AppServer, provider: OidcProvider) -> Iterator[tuple[BackMsg, str]]:
    """A download that somebody who is signed in has open on a page: its request, and the link that was given."""
    client = sign_in(guarded_app, provider, ADA)
    with open_socket(guarded_app, dict(client.cookies)) as socket:
        request = download_asked(run_page(socket, "models", f"?model={MODEL}"))
        socket.send(request.SerializeToString())
        answer = until(socket, "backend_operation_response")[-1].backend_operation_response
        assert not answer.error_msg
        link = answer.deferred_file.url
        assert client.get(link).content.startswith(b"PK")
        yield request, link


@pytest.fixture(scope="module")
def links(asked: tuple[BackMsg, str]) -> list[str]:
    assert asked[1].startswith("/media/")
    return [asked[1]]


def bad_cookies(app: AppServer, provider: OidcProvider) -> dict[str, dict[str, str]]:
    """No cookie, and cookies that must not count."""
    ada = claims_of(ADA, provider.issuer)
    good = signed_cookie(ada, app.url)
    payload, rest = good[:-6], good[-6:]
    return {
        "none": {},
        "forged": {USER_COOKIE_NAME: signed_cookie(ada, app.url, secret="another secret of more than 32 characters")},
        "changed": {USER_COOKIE_NAME: payload + rest[::-1]},
        "expired": {USER_COOKIE_NAME: signed_cookie(ada, app.url, age_s=EXPIRED_S)},
        "of another site": {USER_COOKIE_NAME: signed_cookie(ada, "https://elsewhere.example")},
        "nonsense": {USER_COOKIE_NAME: "é\x7f".encode().decode("latin-1")[:2] + "x"},
    }


KINDS = ["none", "forged", "changed", "expired", "of another site", "nonsense"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_address_tells_anything(kind: str, guarded_app: AppServer, provider: OidcProvider, links: list[str]) -> None:
    cookies = bad_cookies(guarded_app, provider)[kind]
    refused = [*links, *(f"/app/static/{name}" for name in STATIC), "/_stcore/metrics", "/_stcore/agent/openapi.json"]
    refused += ["/_stcore/agent/mcp", "/component/x/y", "/_stcore/bidi-components/x/y", "/_stcore/script-health-check"]
    refused += [f"/{links[0]}", f"/x/..{links[0]}", links[0].upper(), "/media/", "/_stcore/upload_file/a/b"]
    header = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items()).encode("latin-1")} if cookies else {}
    with httpx.Client(base_url=guarded_app.url, headers=header, timeout=30) as client:
        for path in refused:
            answer = client.get(path)
            assert answer.status_code in (302, 400, 401, 404), path
            assert len(answer.content) < 100, path
        for path in links:
            assert client.get(path, headers={"Range": "bytes=0-9"}).status_code == 401
            assert client.head(path).status_code == 401
            assert client.options(path).status_code == 401
        upload = "/_stcore/upload_file/a/b"
        assert client.put(upload, files={"f": b"x"}).status_code == 401
        assert client.delete(upload).status_code == 401
        for page in PAGES:
            answer = client.get(f"/{page}?job=1")
            assert (answer.status_code, answer.headers["location"]) == (302, "/")
        index = client.get("/")
        assert index.status_code == 200
        assert not [word for word in [*SECRET_WORDS, *TITLES] if word in index.text]
        assert client.get("/_stcore/health").text == "ok"
        assert client.get("/auth/logout").status_code == 302


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "forged", "expired"])
def test_the_websocket_shows_the_page_to_sign_in_alone(
    kind: str, guarded_app: AppServer, provider: OidcProvider, links: list[str]
) -> None:
    cookies = bad_cookies(guarded_app, provider)[kind]
    for page in ["", "datasets", "people"] if kind == "none" else ["candidates"]:
        said = talk(guarded_app, cookies, page)
        assert b"Sign in to go on" in said, page
        told = [word for word in [*SECRET_WORDS, *TITLES, *PAGES] if word and word.encode() in said and word != page]
        assert told == [], page


@pytest.mark.slow
def test_a_stranger_cannot_have_a_download_made(guarded_app: AppServer, asked: tuple[BackMsg, str]) -> None:
    request = asked[0]
    with open_socket(guarded_app, {}) as socket:
        run_page(socket, "")
        socket.send(request.SerializeToString())
        with pytest.raises(ConnectionClosed):
            until(socket, "backend_operation_response")


@pytest.mark.slow
def test_a_session_is_not_taken_up_by_a_stranger(guarded_app: AppServer, provider: OidcProvider) -> None:
    cookies = dict(sign_in(guarded_app, provider, BEN).cookies)
    with open_socket(guarded_app, cookies) as socket:
        first = run_page(socket, "datasets")
        session = next(m.new_session.initialize.session_id for m in first if m.WhichOneof("type") == "new_session")
        assert session
        assert DATASET.encode() not in talk(guarded_app, {}, "datasets", session)
    assert DATASET.encode() not in talk(guarded_app, {}, "datasets", session), "nor once its owner has gone"


@pytest.mark.slow
def test_who_is_signed_in_sees_the_pages_and_whoever_signs_out_no_longer(
    guarded_app: AppServer, provider: OidcProvider, links: list[str]
) -> None:
    client = sign_in(guarded_app, provider, BEN)
    mine = dict(client.cookies)
    said = talk(guarded_app, mine, "datasets")
    assert DATASET.encode() in said
    assert b"Ben Ten" in said
    assert b"People" not in said, "which is the administrators'"
    assert CLIENT_SECRET.encode() not in said
    answer = client.get(f"/app/static/{STATIC[0]}")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-cache")
    client.get("/auth/logout")
    with httpx.Client(base_url=guarded_app.url, cookies=mine) as kept:
        assert kept.get(f"/app/static/{STATIC[0]}").status_code == 401, "a copy of the cookie is worth nothing"
    assert b"Sign in to go on" in talk(guarded_app, mine, "datasets")
    assert DATASET.encode() in talk(guarded_app, dict(sign_in(guarded_app, provider, BEN).cookies), "datasets")


@pytest.mark.slow
def test_signing_out_counts_in_the_second_of_signing_in(guarded_app: AppServer, provider: OidcProvider) -> None:
    sign_in(guarded_app, provider, BEN)  # the first of a server takes its time
    time.sleep(1 - time.time() % 1)  # cookies know whole seconds
    client = sign_in(guarded_app, provider, BEN)
    mine = dict(client.cookies)
    with open_socket(guarded_app, mine) as socket:
        client.get("/auth/logout")
        again = dict(sign_in(guarded_app, provider, BEN).cookies)
        content = f"{guarded_app.url}/app/static/{STATIC[0]}"
        assert httpx.get(content, cookies=mine).status_code == 401
        assert httpx.get(content, cookies=again).status_code == 200, "whoever signs in again is in at once"
        with pytest.raises(ConnectionClosed):
            run_page(socket, "datasets")


@pytest.mark.slow
def test_whoever_signs_in_is_led_to_the_page_they_asked_for(guarded_app: AppServer, provider: OidcProvider) -> None:
    wanted = {"subhull_return": "%2Fdatasets%3Fdataset%3D" + DATASET}
    for cookie, place in ((wanted, f"/datasets?dataset={DATASET}"), ({"subhull_return": "%2F%2Fevil.example"}, "/")):
        client = sign_in(guarded_app, provider, BEN, cookie)
        assert str(client.landed).removeprefix(guarded_app.url) == place


@pytest.mark.slow
def test_a_new_person_without_a_role_sees_nothing(
    guarded_app: AppServer, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    eve = {"sub": "eve", "email": "eve@else.example", "name": "Eve"}
    client = sign_in(guarded_app, provider, eve)
    monkeypatch.setenv("SUBHULL_VAR", str(guarded_app.var))
    people.set_role(people.person_named(eve["email"]).id, "none")
    time.sleep(2.1)  # what was looked up is believed for two seconds
    assert client.get(f"/app/static/{STATIC[0]}").status_code == 401
    said = talk(guarded_app, dict(client.cookies), "datasets")
    assert b"you have no role here yet" in said
    assert not [word for word in [*SECRET_WORDS, *TITLES] if word.encode() in said]


@pytest.mark.slow
def test_secrets_are_in_no_log(guarded_app: AppServer, provider: OidcProvider) -> None:
    sign_in(guarded_app, provider, BEN)
    log = (guarded_app.var / "server.log").read_text()
    assert CLIENT_SECRET not in log
    assert "a cookie secret that is long" not in log


def test_a_provider_that_fails_is_a_sentence_with_a_way_back(with_accounts: None) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"20")]})
        await send({"type": "http.response.body", "body": b"Authentication error"})

    gate = httpx.ASGITransport(app=Gate(failing))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=gate, base_url="http://127.0.0.1") as client:
            return await client.get("/auth/login?provider=x")

    answer = asyncio.run(ask())
    assert answer.status_code == 400
    assert "the provider of accounts does not answer, or refused" in answer.text
    assert "Back to Subhull" in answer.text
    assert "Authentication error" not in answer.text
