"""Settings are checked where they are read."""

from pathlib import Path

import pytest

from core.settings import SettingsError, accounts, is_loopback, settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUBHULL_VAR", "SUBHULL_DATABASE_URL", "SUBHULL_M3GNET", "SUBHULL_OWNER"):
        monkeypatch.delenv(name, raising=False)


def test_the_store_lies_under_var_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUBHULL_VAR", str(tmp_path))
    assert settings().database_url == f"sqlite:///{tmp_path / 'subhull.db'}"


def test_postgres_goes_through_the_installed_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBHULL_DATABASE_URL", "postgresql://me@localhost/lab")
    assert settings().database_url == "postgresql+psycopg://me@localhost/lab"


def test_settings_that_cannot_work_say_what_to_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUBHULL_M3GNET", str(tmp_path))
    with pytest.raises(SettingsError, match=r"SUBHULL_M3GNET .* holds no model\.json"):
        settings()
    monkeypatch.delenv("SUBHULL_M3GNET")
    monkeypatch.setenv("SUBHULL_DATABASE_URL", "mysql://user:secret@host/name")
    with pytest.raises(SettingsError, match="SUBHULL_DATABASE_URL") as refused:
        settings()
    assert "secret" not in str(refused.value), "a password is never repeated"


OIDC = {
    "SUBHULL_OIDC_ISSUER": "https://login.example/realm",
    "SUBHULL_OIDC_CLIENT_ID": "subhull",
    "SUBHULL_OIDC_CLIENT_SECRET": "client-secret-value",
    "SUBHULL_COOKIE_SECRET": "c" * 40,
    "SUBHULL_PUBLIC_URL": "https://subhull.example/",
}


@pytest.fixture
def oidc(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OIDC.items():
        monkeypatch.setenv(name, value)


def test_accounts_are_off_by_default() -> None:
    assert accounts() is None


def test_accounts_are_read_with_their_secrets_in_no_repr(
    oidc: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SUBHULL_ADMINS", "Ada@Lab.example, ben@lab.example")
    monkeypatch.setenv("SUBHULL_QUOTA_GB", "0")
    monkeypatch.delenv("SUBHULL_COOKIE_SECRET")
    (tmp_path / "secret").write_text("f" * 40 + "\n")
    monkeypatch.setenv("SUBHULL_COOKIE_SECRET_FILE", str(tmp_path / "secret"))
    found = accounts()
    assert found
    assert found.metadata_url == "https://login.example/realm/.well-known/openid-configuration"
    assert (found.public_url, found.origin) == ("https://subhull.example", "https://subhull.example")
    assert found.admins == {"ada@lab.example", "ben@lab.example"}
    assert (found.default_role, found.jobs, found.disk) == ("viewer", 10, None)
    assert found.cookie_secret == "f" * 40
    assert "client-secret-value" not in repr(found)
    assert "ffff" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SUBHULL_OIDC_ISSUER", "", "SUBHULL_OIDC_ISSUER is not: name the provider"),
        ("SUBHULL_OIDC_ISSUER", "http://login.example", "no https address"),
        ("SUBHULL_OIDC_CLIENT_ID", "", "SUBHULL_OIDC_CLIENT_ID is not"),
        ("SUBHULL_OIDC_CLIENT_SECRET", "", "SUBHULL_OIDC_CLIENT_SECRET is not"),
        ("SUBHULL_OIDC_CLIENT_SECRET_FILE", "/nowhere", "both set"),
        ("SUBHULL_COOKIE_SECRET", "short", "shorter than 32"),
        ("SUBHULL_COOKIE_SECRET_FILE", "/nowhere", "both set"),
        ("SUBHULL_PUBLIC_URL", "http://subhull.example", "SUBHULL_PUBLIC_URL has to say"),
        ("SUBHULL_PUBLIC_URL", "https://a@b.example", "SUBHULL_PUBLIC_URL has to say"),
        ("SUBHULL_DEFAULT_ROLE", "admin", "use one of viewer, editor, none"),
        ("SUBHULL_ADMINS", "ada", "no address"),
        ("SUBHULL_QUOTA_JOBS", "many", "write a number"),
        ("SUBHULL_QUOTA_GB", "-1", "write a number"),
    ],
)
def test_accounts_that_cannot_work_say_what_to_write(
    oidc: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=sentence) as refused:
        accounts()
    assert "client-secret-value" not in str(refused.value)
    assert value != "short" or "'short'" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.1.2.3", True), ("0.0.0.0", False), ("", False)],
)
def test_loopback_is_told_from_the_rest(host: str, own: bool) -> None:
    assert is_loopback(host) is own
