"""The app with accounts, beside a provider that signs in whoever a test says."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from joserfc import jwt
from joserfc.jwk import OctKey
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from core.workflows import acting
from tests.conftest import AppServer, workers_of
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider

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
    yield
    acting.answer_with(None)


def claims_of(person: dict[str, Any], issuer: str = "http://127.0.0.1:1") -> dict[str, Any]:
    return {"iss": issuer, **person}


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    made = OidcProvider()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def guarded_app(
    provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory, _starter_template: Path
) -> Iterator[AppServer]:
    """The real app with what ships and with accounts."""
    var = tmp_path_factory.mktemp("guarded") / "var"
    shutil.copytree(_starter_template, var)
    server = AppServer(var, {})
    server.env |= oidc_env(provider.issuer, server.url)
    server.start()
    yield server
    server.stop()
    for process in workers_of(var):
        with suppress(Exception):
            process.kill()


def sign_in(app: AppServer, provider: OidcProvider, person: dict[str, Any]) -> httpx.Client:
    """A client that has gone the whole way to the provider and back, as `st.login` sends a browser."""
    provider.next_person = person
    client = httpx.Client(base_url=app.url, follow_redirects=True, timeout=30)
    claims = {"provider": "default", "exp": int(time.time()) + 60}
    token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(COOKIE_SECRET))
    answer = client.get("/auth/login", params={"provider": token})
    assert answer.status_code == 200, answer.text
    assert client.cookies.get(USER_COOKIE_NAME), "signed in"
    return client


def signed_cookie(claims: dict[str, Any], origin: str, secret: str = COOKIE_SECRET, age_s: float = 0.0) -> str:
    """A cookie as Streamlit signs it, or signed by another or long ago."""

    class Past(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time() - age_s)

    value = json.dumps({**claims, "origin": origin, "is_logged_in": True, "provider": "default"})
    serializer = URLSafeTimedSerializer(secret, salt=USER_COOKIE_NAME, signer=Past)
    return str(serializer.dumps(value))
