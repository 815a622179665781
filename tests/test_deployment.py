"""The image and the services as their own tools read them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

OVERLAYS = ("", "compose.gpu.yaml", "compose.ray.yaml")


def test_the_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("no hadolint here (tests/requirements.txt has it)")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def compose(*overlays: str, **env: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose here")
    files = [part for name in ("compose.yaml", *overlays) if name for part in ("-f", name)]
    return subprocess.run(
        [program, *files, "config"], cwd=ROOT, env={"PATH": os.environ["PATH"], "HOME": str(ROOT), **env},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_are_as_compose_reads_them(overlay: str) -> None:
    done = compose(overlay, POSTGRES_PASSWORD="one", RAY_AUTH_TOKEN="two")
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)
    app = found["services"]["app"]
    assert app["environment"]["SUBHULL_DATABASE_URL"] == "postgresql://subhull:one@db/subhull"
    assert all(str(port).startswith("127.0.0.1:") for port in app["ports"]), "the app is on loopback of its host"
    assert "ports" not in found["services"]["db"]
    assert set(found["volumes"]) == {"data", "db"}
    assert "healthcheck" in found["services"]["db"]
    if "ray" in overlay:
        assert found["services"]["ray"]["environment"]["RAY_AUTH_MODE"] == "token"


def test_without_a_password_nothing_starts() -> None:
    done = compose()
    assert done.returncode != 0
    assert "a password for the database" in done.stderr


def test_the_image_has_what_its_command_needs_and_a_health_check() -> None:
    text = (ROOT / "Dockerfile").read_text()
    command = json.loads(re.findall(r"^CMD (\[.*\])", text, re.MULTILINE)[-1])
    assert command[:5] == ["python", "-m", "streamlit", "run", "app.py"]
    assert "/_stcore/health" in text
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE), "not root, by number"
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert not {"core", "pages", "db", "assets", "app.py", "requirements.txt", ".streamlit"} & set(left_out)
