"""The app with accounts, beside a provider that signs in whoever a test says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from joserfc import jwt
from joserfc.jwk import OctKey
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from core.settings import ASSETS
from core.workflows import acting
from core.workflows.imports import ImportParams, import_files
from tests.conftest import AppServer, TestContext, workers_of
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider

DATASET, MODEL = "secret-borides", "starter-modifier"
POSCAR = """TaB2
1.0
3.1 0.0 0.0
-1.55 2.684679 0.0
0.0 0.0 3.25
Ta B
1 2
Direct
0.0 0.0 0.0
0.333333 0.666667 0.5
0.666667 0.333333 0.5
"""
COOKIE_SECRET = "a cookie secret that is long enough for a test"
ADA = {"sub": "ada", "email": "ada@lab.example", "email_verified": True, "name": "Ada Lovelace"}
BEN = {"sub": "ben", "email": "ben@lab.example", "email_verified": True, "name": "Ben Ten"}


def oidc_env(issuer: str, public_url: str, **more: str) -> dict[str, str]:
    """Settings of accounts; Ada is the administrator, others begin as viewers."""
    return {
        "SUBHULL_OIDC_ISSUER": issuer,
        "SUBHULL_OIDC_CLIENT_ID": CLIENT_ID,
        "SUBHULL_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "SUBHULL_COOKIE_SECRET": COOKIE_SECRET,
        "SUBHULL_PUBLIC_URL": public_url,
        "SUBHULL_ADMINS": ADA["email"],
        **more,
    }


@pytest.fixture
def with_accounts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Accounts are on in this process, by settings alone."""
    for name, value in oidc_env("http://127.0.0.1:1", "http://127.0.0.1:8501").items():
        monkeypatch.setenv(name, value)
    acting.answer_with(None)  # a page that was opened before in this process answers for its own script
    yield
    acting.answer_with(None)


def claims_of(person: dict[str, Any], issuer: str = "http://127.0.0.1:1") -> dict[str, Any]:
    return {"iss": issuer, **person}


@pytest.fixture(scope="module")
def guarded_app(provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """The real app with accounts, one dataset and one model. The rest that ships takes too long to put in."""
    with serving(provider, tmp_path_factory) as server:
        yield server


@contextmanager
def serving(
    provider: OidcProvider, folders: pytest.TempPathFactory, datasets: Sequence[str] = (DATASET,), **settings: str
) -> Iterator[AppServer]:
    """The real app that people sign in to, with these datasets; nothing it started is left."""
    var = folders.mktemp("guarded") / "var"
    make_store(var, folders.mktemp("files"), datasets)
    server = AppServer(var, {})
    server.env |= oidc_env(provider.issuer, server.url, **settings)
    server.start()
    yield server
    server.stop()
    for process in workers_of(var):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def make_store(var: Path, files: Path, datasets: Sequence[str] = (DATASET,)) -> None:
    """A store with these datasets; MODEL is put in when the app starts, nothing else that ships."""
    var.mkdir(parents=True)
    models = [p.name for p in (ASSETS / "models").iterdir() if p.name != MODEL]
    (var / ".starter").write_text("\n".join(["dataset", "hulls", *(f"model:{name}" for name in models)]) + "\n")
    (files / "POSCAR").write_text(POSCAR)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SUBHULL_VAR", str(var))
        for name in datasets:
            import_files(ImportParams((str(files / "POSCAR"),), name), TestContext(files / "job"))


class Client(httpx.Client):
    """One that remembers where signing in led it."""

    landed = ""


def sign_in(
    app: AppServer, provider: OidcProvider, person: dict[str, Any], cookies: dict[str, str] | None = None
) -> Client:
    """A client that has gone the whole way to the provider and back, as `st.login` sends a browser."""
    provider.next_person = person
    client = Client(base_url=app.url, follow_redirects=True, timeout=30, cookies=cookies)
    claims = {"provider": "default", "exp": int(time.time()) + 60}
    token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(COOKIE_SECRET))
    answer = client.get("/auth/login", params={"provider": token})
    assert answer.status_code == 200, answer.text
    assert client.cookies.get(USER_COOKIE_NAME), "signed in"
    client.landed = str(answer.url)
    return client


def signed_cookie(claims: dict[str, Any], origin: str, secret: str = COOKIE_SECRET, age_s: float = 0.0) -> str:
    """A cookie as Streamlit signs it, or signed by another or long ago."""

    class Past(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time() - age_s)

    value = json.dumps({**claims, "origin": origin, "is_logged_in": True, "provider": "default"})
    serializer = URLSafeTimedSerializer(secret, salt=USER_COOKIE_NAME, signer=Past)
    return str(serializer.dumps(value))


@contextmanager
def open_socket(app: AppServer, cookies: dict[str, str], session: str = "") -> Iterator[ClientConnection]:
    """A websocket as the front end opens it; `session`: the one it was in before."""
    xsrf = httpx.get(f"{app.url}/_stcore/health").cookies["_streamlit_xsrf"]
    header = "; ".join(f"{k}={v}" for k, v in {**cookies, "_streamlit_xsrf": xsrf}.items())
    with connect(
        app.url.replace("http:", "ws:") + "/_stcore/stream",
        origin=Origin(app.url),
        subprotocols=[Subprotocol(p) for p in ("streamlit", xsrf, session) if p],
        additional_headers={"Cookie": header},
        max_size=None,
    ) as socket:
        yield socket


def run_page(socket: ClientConnection, page: str, query: str = "") -> list[ForwardMsg]:
    """What the server sends for one run of the script."""
    asked = BackMsg()
    asked.rerun_script.query_string = query
    asked.rerun_script.page_name = page
    socket.send(asked.SerializeToString())
    return until(socket, "script_finished")


def until(socket: ClientConnection, kind: str, seconds: float = 60.0) -> list[ForwardMsg]:
    """Messages up to the first of a kind."""
    found: list[ForwardMsg] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found.append(ForwardMsg.FromString(bytes(socket.recv(timeout=seconds))))
        if found[-1].WhichOneof("type") == kind:
            return found
    raise AssertionError(f"no {kind} came")


def talk(app: AppServer, cookies: dict[str, str], page: str = "", session: str = "") -> bytes:
    """All that the server sends on a websocket for one page."""
    with open_socket(app, cookies, session) as socket:
        return b"".join(message.SerializeToString() for message in run_page(socket, page))


def download_asked(messages: list[ForwardMsg]) -> BackMsg:
    """The request that a click on the page's first download button sends; its file is made then."""
    session = next(m.new_session.initialize.session_id for m in messages if m.WhichOneof("type") == "new_session")
    elements = (m.delta.new_element for m in messages if m.WhichOneof("type") == "delta")
    asked = BackMsg()
    asked.backend_operation_request.request_id = "one"
    asked.backend_operation_request.session_id = session
    asked.backend_operation_request.deferred_file.file_id = next(
        e.download_button.deferred_file_id
        for e in elements
        if e.WhichOneof("type") == "download_button" and e.download_button.deferred_file_id
    )
    return asked
