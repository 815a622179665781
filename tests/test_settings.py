"""Settings are checked where they are read."""

from pathlib import Path

import pytest

from core.settings import SettingsError, settings


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
