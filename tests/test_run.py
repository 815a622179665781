"""The `./run` script where something is missing, and that its set-up is checked."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from core.ui import assets
from tests.conftest import ROOT


def run(folder: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "run", folder / "run")
    env = {"PATH": path, "HOME": str(folder)}
    return subprocess.run(["./run", *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of the plain tools that a shell has, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "cat", "cksum", "mkdir", "rm"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def test_an_old_python_is_said_in_clear_words(tmp_path: Path, tools: Path) -> None:
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    done = run(tmp_path, "app", path=str(tools))
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_python_without_venv_leaves_nothing(tmp_path: Path, tools: Path) -> None:
    named_python(tools, "mkdir .venv/bin; exit 1")
    done = run(tmp_path, "app", path=str(tools))
    assert "install Python's venv module" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_usage_is_shown_where_the_command_is_wrong(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments, path=os.environ["PATH"])
    assert done.returncode == 2
    assert "./run app [--port N]" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["app", "--help"], ["app", "-h"]])
def test_help_is_of_the_script_and_sets_nothing_up(tmp_path: Path, tools: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments, path=str(tools))
    assert (done.returncode, done.stderr) == (0, "")
    assert "./run app [--port N]" in done.stdout
    assert not (tmp_path / ".venv").exists()


def named_python(tools: Path, body: str) -> None:
    """A `python3` that passes for new enough and does `body`."""
    (tools / "python3").write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 0\n{body}\n')
    (tools / "python3").chmod(0o755)


@pytest.mark.parametrize("kind", ["python that cannot be run", "empty", "file", "dangling link"])
def test_an_environment_that_somebody_else_made_is_said_and_kept(tmp_path: Path, tools: Path, kind: str) -> None:
    named_python(tools, "echo made >.venv-was-made; exit 1")
    venv = tmp_path / ".venv"
    if kind == "python that cannot be run":
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").write_text("#!/bin/sh\n")
        (venv / "bin" / "python").chmod(0o644)
    elif kind == "empty":
        venv.mkdir()
    elif kind == "file":
        venv.write_text("mine")
    else:
        venv.symlink_to(tmp_path / "elsewhere")
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    done = run(tmp_path, "app", path=str(tools))
    assert done.returncode == 1
    assert f"{venv} is there, but this user cannot use it: its bin/python cannot be run." in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == sorted([*before, Path("run")])


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, tools: Path) -> None:
    named_python(tools, "exit 1")
    (tools / "mkdir").unlink()
    (tools / "mkdir").write_text("#!/bin/sh\necho 'mkdir: Permission denied' >&2; exit 1\n")  # root may write anywhere
    (tools / "mkdir").chmod(0o755)
    done = run(tmp_path, "app", path=str(tools))
    assert done.returncode == 1
    assert f"{tmp_path}/.venv cannot be made: this user may not write there" in done.stderr
    assert done.stderr.count("\n") == 1


def test_one_that_is_stopped_while_it_is_made_leaves_nothing(tmp_path: Path, tools: Path) -> None:
    named_python(tools, "echo half >.venv/half; kill -TERM $PPID; exit 0")
    done = run(tmp_path, "app", path=str(tools))
    assert done.returncode == 130
    assert not (tmp_path / ".venv").exists()


def test_the_script_is_plain_sh() -> None:
    for shell in filter(None, map(shutil.which, ("sh", "bash", "dash"))):
        done = subprocess.run([shell, "-n", ROOT / "run"], capture_output=True, text=True, timeout=10)
        assert (done.returncode, done.stderr) == (0, "")


def test_another_3dmol_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tarfile

    packed = tmp_path / "3dmol.tgz"
    for member in assets._FILES:
        (tmp_path / member).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / member).write_text("alert(1)")
    with tarfile.open(packed, "w:gz") as archive:
        for member in assets._FILES:
            archive.add(tmp_path / member, member)
    target = tmp_path / "static" / "3Dmol-min.js"
    monkeypatch.setattr(assets, "_FILES", {"package/build/3Dmol-min.js": target})
    monkeypatch.setattr(assets, "SCRIPT", target)
    monkeypatch.setattr(assets, "STATIC", target.parent)
    monkeypatch.setattr(assets, "_pack", lambda _: packed)
    with pytest.raises(RuntimeError, match="not the file"):
        assets.fetch()
    assert not target.exists()
    monkeypatch.setattr(assets, "SHA256", hashlib.sha256(b"alert(1)").hexdigest())
    assets.fetch()
    assert assets.present()
