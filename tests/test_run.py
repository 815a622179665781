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
    for name in ("sh", "dirname", "cat", "cksum", "rm"):
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
    (tools / "python3").write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\nmkdir .venv; exit 1\n')
    (tools / "python3").chmod(0o755)
    (tools / "mkdir").symlink_to(str(shutil.which("mkdir")))
    done = run(tmp_path, "app", path=str(tools))
    assert "install Python's venv module" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["serve"]])
def test_usage_is_shown(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments, path=os.environ["PATH"])
    assert done.returncode == 2
    assert "./run app" in done.stderr


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
