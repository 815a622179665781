"""A start that cannot be is said in one sentence, without a stack and without a password."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli.main import main
from core.settings import VARIABLES, unknown_settings
from core.workflows.context import UserError
from core.workflows.startup import check_start
from core.workflows.store import folder, store
from tests.accounts.conftest import oidc_env
from tests.conftest import ROOT, free_port


def test_a_misspelt_setting_is_told_with_what_is_meant() -> None:
    said = unknown_settings({"SUBHULL_DATABSE_URL": "x", "SUBHULL_COLOUR": "blue", "PATH": "/bin", "SUBHULL_VAR": "v"})
    assert said == [
        "SUBHULL_COLOUR is no setting of this app.",
        "SUBHULL_DATABSE_URL is no setting of this app: is SUBHULL_DATABASE_URL meant?",
    ]


def test_every_setting_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in VARIABLES if name not in text and not name.startswith("SUBHULL_TEST_")] == []


def test_a_database_that_is_away_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBHULL_DATABASE_URL", f"postgresql://me:hidden@127.0.0.1:{free_port()}/lab")
    with pytest.raises(UserError, match="store cannot be opened: The database cannot be reached") as refused:
        check_start()
    assert "hidden" not in str(refused.value)


@pytest.mark.postgres
def test_a_database_that_does_not_exist_is_told_as_its_server_says(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBHULL_DATABASE_URL", postgres.rsplit("/", 1)[0] + "/nodb")
    with pytest.raises(UserError, match='The database\'s server refuses: database "nodb" does not exist'):
        check_start()


def test_what_is_configured_elsewhere_and_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBHULL_ARTEFACTS", "file:///proc/nowhere")
    issuer = f"http://127.0.0.1:{free_port()}"
    for name, value in oidc_env(issuer, "http://127.0.0.1:8501").items():
        monkeypatch.setenv(name, value)
    provider, artefacts = check_start()
    assert provider.startswith(f"SUBHULL_OIDC_ISSUER: {issuer}/.well-known/openid-configuration does not answer")
    assert artefacts.startswith("SUBHULL_ARTEFACTS: the artefacts at file:///proc/nowhere cannot be used")


def test_the_command_line_tells_misspelt_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUBHULL_VRA", "/somewhere")
    assert main(["potentials", "list"]) == 0
    assert "SUBHULL_VRA is no setting of this app: is SUBHULL_VAR meant?" in capsys.readouterr().err


def test_a_file_that_is_no_database_is_told(monkeypatch: pytest.MonkeyPatch, var: Path) -> None:
    var.mkdir()
    (var / "subhull.db").write_text("no database at all" * 100)
    with pytest.raises(UserError, match="file is not a database"):
        check_start()


@pytest.mark.parametrize("through", ["check_start", "store", "folder"])
def test_the_folder_is_its_users_alone_where_it_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    before = os.umask(0o022)
    try:
        monkeypatch.setenv("SUBHULL_VAR", str(tmp_path / "new" / "var"))
        {"check_start": check_start, "store": store, "folder": lambda: folder("jobs")}[through]()
        assert (tmp_path / "new" / "var").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755, "folders above it are not the store's"
        (tmp_path / "shared").mkdir(mode=0o755)
        monkeypatch.setenv("SUBHULL_VAR", str(tmp_path / "shared"))
        check_start()
        assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755, "one that was there stays as it was"
    finally:
        os.umask(before)


@pytest.mark.slow
def test_the_server_ends_with_the_sentence_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(free_port())]
    env = {**os.environ, "SUBHULL_VAR": str(tmp_path / "file" / "var")}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert "Subhull cannot start. SUBHULL_VAR is" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
