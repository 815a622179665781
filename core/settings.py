"""Every setting of the project, read from the environment in one place."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "assets"
AFLUX_URL = "https://aflow.org/API/aflux/"

# Every variable that the project reads, so that a misspelt one can be told
VARIABLES = (
    "SUBHULL_VAR",
    "SUBHULL_DATABASE_URL",
    "SUBHULL_AFLUX_URL",
    "SUBHULL_M3GNET",
    "SUBHULL_OWNER",
    "SUBHULL_SLURM",
    "SUBHULL_SLURM_GPU",
    "SUBHULL_RAY_ADDRESS",
    "SUBHULL_RAY",
    "SUBHULL_RAY_GPU",
    "SUBHULL_ARTEFACTS",
    "SUBHULL_PYTHON",
    "SUBHULL_SHARED",
    "SUBHULL_TEST_STRICT",
    "SUBHULL_TEST_PROCESSES",
)


class SettingsError(ValueError):
    """A setting that cannot be used; the message says which and what to write instead."""


@dataclass(frozen=True)
class Place:
    """What a job asks of a cluster. 0 and "" leave it to the cluster.

    time: minutes; memory: GB
    gpus: on one machine; a training with several takes them all
    python: the interpreter on the cluster's machines, where it is not this one
    cluster: "slurm", or "local" for submitit's own executor in processes here
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: int = 0
    cpus: int = 0
    gpus: int = 0
    memory: int = 0
    python: str = ""
    cluster: str = "slurm"


@dataclass(frozen=True)
class Settings:
    """What the environment says, checked.

    var: folder of everything that is not committed: database, jobs, datasets, models (SUBHULL_VAR)
    database_url: SQLAlchemy URL, SQLite under `var` by default (SUBHULL_DATABASE_URL)
    m3gnet: folder of the M3GNet checkpoint in matgl's format, or None (SUBHULL_M3GNET)
    aflux_url: AFLOW's search API (SUBHULL_AFLUX_URL)
    owner: name written on jobs and candidates (SUBHULL_OWNER, else the system's user)
    places: what the devices of clusters ask for (SUBHULL_SLURM, SUBHULL_SLURM_GPU, SUBHULL_RAY, SUBHULL_RAY_GPU)
    ray_address: of Ray's job server (SUBHULL_RAY_ADDRESS)
    ray_token: what it wants to see (RAY_AUTH_TOKEN, else the file that RAY_AUTH_TOKEN_PATH names or ~/.ray/auth_token)
    artefacts: where jobs on clusters leave files, without a shared folder (SUBHULL_ARTEFACTS)
    """

    var: Path
    database_url: str
    m3gnet: Path | None
    aflux_url: str
    owner: str
    places: dict[str, Place] = field(default_factory=dict)
    ray_address: str = ""
    ray_token: str = field(default="", repr=False)
    artefacts: str = ""


def settings() -> Settings:
    """The settings of this moment. Raises SettingsError for a value that cannot be used."""
    var = Path(os.environ.get("SUBHULL_VAR") or ROOT / "var").expanduser().resolve()
    url = os.environ.get("SUBHULL_DATABASE_URL") or f"sqlite:///{var / 'subhull.db'}"
    if url.startswith(("postgres://", "postgresql://")):  # the driver in requirements.txt is psycopg 3
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise SettingsError(
            f"SUBHULL_DATABASE_URL starts with {url.split(':')[0]!r}: use sqlite:///FILE or postgresql://USER@HOST/NAME."
        )
    folder = os.environ.get("SUBHULL_M3GNET")
    m3gnet = Path(folder).expanduser().resolve() if folder else None
    if m3gnet and not (m3gnet / "model.json").is_file():
        raise SettingsError(f"SUBHULL_M3GNET is {m3gnet}, which holds no model.json: name the checkpoint's folder.")
    aflux = os.environ.get("SUBHULL_AFLUX_URL") or AFLUX_URL
    if not aflux.startswith(("https://", "http://")):
        raise SettingsError("SUBHULL_AFLUX_URL is no web address: write it as https://SERVER/API/aflux/.")
    owner = os.environ.get("SUBHULL_OWNER") or os.environ.get("USER") or "local"
    ray = _ray_address()
    return Settings(var, url, m3gnet, aflux, owner, _places(bool(ray)), ray, _ray_token() if ray else "", _artefacts())


def _places(ray: bool) -> dict[str, Place]:
    """Device -> what it asks for; devices that nobody configured are left out."""
    found = {}
    for device, name in (("slurm", "SUBHULL_SLURM"), ("slurm-gpu", "SUBHULL_SLURM_GPU")):
        if text := os.environ.get(name):
            found[device] = _place(name, text)
    if ray:
        found["ray"] = _place("SUBHULL_RAY", os.environ.get("SUBHULL_RAY", ""))
        if text := os.environ.get("SUBHULL_RAY_GPU"):
            found["ray-gpu"] = _place("SUBHULL_RAY_GPU", text)
    for device, place in found.items():
        if device.endswith("-gpu") and not place.gpus:
            name = f"SUBHULL_{device.upper().replace('-', '_')}"
            raise SettingsError(f"{name} asks for no GPU: write gpus=1, or as many as a job takes.")
    return found


def _place(name: str, text: str) -> Place:
    """ "partition=gpu gpus=2 time=600" as a Place. Raises SettingsError."""
    kinds = {f.name: f.type for f in fields(Place)}
    values: dict[str, str | int] = {}
    try:
        parts = [part.partition("=") for part in shlex.split(text)]
    except ValueError:
        raise SettingsError(f"{name} has an open quotation mark.") from None
    for key, equals, value in parts:
        if key not in kinds or not equals or not value:
            raise SettingsError(f"{name} holds {key!r}: write OPTION=VALUE of {', '.join(kinds)}.")
        if kinds[key] == "int" and not (value.isascii() and value.isdecimal() and 0 < int(value) < 10**7):
            raise SettingsError(f"{name}: {key} has to be a whole number from 1 on, not {value!r}.")
        values[key] = int(value) if kinds[key] == "int" else value
    if values.get("cluster", "slurm") not in ("slurm", "local"):
        raise SettingsError(f"{name}: cluster is slurm or local, not {values['cluster']!r}.")
    return Place(**values)  # type: ignore[arg-type]


def _ray_address() -> str:
    address = (os.environ.get("SUBHULL_RAY_ADDRESS") or "").rstrip("/")
    if address and not address.startswith(("http://", "https://")):
        raise SettingsError("SUBHULL_RAY_ADDRESS is no web address: write it as http://127.0.0.1:8265.")
    return address


def _ray_token() -> str:
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        return (Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token").read_text().strip()
    except OSError as error:
        if named:
            raise SettingsError(f"RAY_AUTH_TOKEN_PATH names a file that cannot be read: {error.strerror}.") from None
        return ""


def _artefacts() -> str:
    where = (os.environ.get("SUBHULL_ARTEFACTS") or "").rstrip("/")
    if where and not (where.startswith("file:///") or (where.startswith("s3://") and len(where) > len("s3://"))):
        raise SettingsError("SUBHULL_ARTEFACTS is written as file:///FOLDER or s3://BUCKET/PREFIX.")
    return where
