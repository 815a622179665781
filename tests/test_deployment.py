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

from core.settings import VARIABLES, accounts, settings
from tests.conftest import ROOT

OVERLAYS = ("", "compose.gpu.yaml", "compose.ray.yaml")
NOT_PASSED_ON = {
    "SUBHULL_VAR": "the image fixes it, where the volume is mounted",
    "SUBHULL_DATABASE_URL": "compose.yaml fixes it: the service db",
    "SUBHULL_RAY_ADDRESS": "compose.ray.yaml fixes it: the service ray",
    "SUBHULL_RAY_GPU": "the service ray has no GPU",
    "SUBHULL_ARTEFACTS": "the service ray shares the app's volume",
    "SUBHULL_SLURM": "the image has none of Slurm's commands",
    "SUBHULL_SLURM_GPU": "the image has none of Slurm's commands",
    "SUBHULL_M3GNET": "names a folder of the host; the image has the weights",
    "SUBHULL_PYTHON": "is read by ./run, which the image does without",
    "SUBHULL_SHARED": "the tests' own",
    "SUBHULL_TEST_STRICT": "the tests' own",
    "SUBHULL_TEST_PROCESSES": "the tests' own",
}


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


def passed_on() -> set[str]:
    """The variables that the app's container takes over from where compose is called: those without a value."""
    files = [yaml.safe_load((ROOT / name).read_text()) for name in ("compose.yaml", *OVERLAYS) if name]
    found = [file["services"]["app"].get("environment", {}) for file in files]
    return {name for environment in found for name, value in environment.items() if value is None}


def test_every_setting_reaches_the_container_or_is_said_not_to() -> None:
    assert passed_on() | set(NOT_PASSED_ON) == set(VARIABLES)
    assert not passed_on() & set(NOT_PASSED_ON)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_setting_that_is_set_is_passed_on(overlay: str) -> None:
    done = compose(overlay, POSTGRES_PASSWORD="one", RAY_AUTH_TOKEN="two", SUBHULL_QUOTA_JOBS="2")
    environment = yaml.safe_load(done.stdout)["services"]["app"]["environment"]
    assert environment["SUBHULL_QUOTA_JOBS"] == "2"
    assert environment.get("SUBHULL_QUOTA_GB") is None


def test_an_empty_setting_means_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    needed = {
        "SUBHULL_RAY_ADDRESS": "http://ray:8265",
        "SUBHULL_OIDC_ISSUER": "https://provider.example",
        "SUBHULL_OIDC_CLIENT_ID": "subhull",
        "SUBHULL_OIDC_CLIENT_SECRET": "secret",
        "SUBHULL_COOKIE_SECRET": 32 * "c",
        "SUBHULL_PUBLIC_URL": "https://subhull.example",
    }
    assert accounts() is None
    unset = settings()
    for name in passed_on():
        monkeypatch.setenv(name, "")
    assert accounts() is None
    assert settings() == unset
    for name in passed_on() - set(needed):
        monkeypatch.delenv(name)
    for name, value in needed.items():
        monkeypatch.setenv(name, value)
    said = (settings(), accounts())
    for name in passed_on() - set(needed):
        monkeypatch.setenv(name, "")
    assert (settings(), accounts()) == said


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
    needed = {"core", "pages", "db", "assets", "app.py", ".streamlit"}
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert not {*needed, "requirements.txt"} & set(left_out)
    copied = {source for line in re.findall(r"^COPY ([^-].*) \S+$", text, re.MULTILINE) for source in line.split()}
    assert needed <= copied
    assert "." not in copied, "what lies beside the project, such as .env, would come with it"
