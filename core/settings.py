"""Every setting of the project, read from the environment in one place."""

from __future__ import annotations

import getpass
import ipaddress
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

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
    "SUBHULL_OIDC_ISSUER",
    "SUBHULL_OIDC_CLIENT_ID",
    "SUBHULL_OIDC_CLIENT_SECRET",
    "SUBHULL_OIDC_CLIENT_SECRET_FILE",
    "SUBHULL_COOKIE_SECRET",
    "SUBHULL_COOKIE_SECRET_FILE",
    "SUBHULL_PUBLIC_URL",
    "SUBHULL_ADMINS",
    "SUBHULL_DEFAULT_ROLE",
    "SUBHULL_QUOTA_JOBS",
    "SUBHULL_QUOTA_GB",
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

    @property
    def shown_database(self) -> str:
        """The database without its password."""
        return re.sub(r"(://[^:/@]+):[^@]*@", r"\1@", self.database_url)


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting and is none."""
    said = []
    for name in sorted(n for n in environment if n.startswith("SUBHULL_") and n not in VARIABLES):
        near = get_close_matches(name.removeprefix("SUBHULL_"), [v.removeprefix("SUBHULL_") for v in VARIABLES], 1, 0.6)
        said.append(f"{name} is no setting of this app" + (f": is SUBHULL_{near[0]} meant?" if near else "."))
    return said


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
    owner = os.environ.get("SUBHULL_OWNER") or _system_user()
    ray = _ray_address()
    return Settings(var, url, m3gnet, aflux, owner, _places(bool(ray)), ray, _ray_token() if ray else "", _artefacts())


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        return "local"


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


WELL_KNOWN = "/.well-known/openid-configuration"
FIRST_ROLES = ("viewer", "editor", "none")
_OF_ACCOUNTS = ("SUBHULL_OIDC_CLIENT_ID", "SUBHULL_OIDC_CLIENT_SECRET", "SUBHULL_OIDC_CLIENT_SECRET_FILE")


@dataclass(frozen=True)
class Accounts:
    """Who signs in and how. Secrets are in no repr.

    metadata_url: the provider's discovery document (SUBHULL_OIDC_ISSUER, the issuer or that document)
    client_id, client_secret: what the provider knows the app by (SUBHULL_OIDC_CLIENT_ID, _SECRET or _SECRET_FILE)
    cookie_secret: signs the cookies of those who are signed in (SUBHULL_COOKIE_SECRET or _FILE)
    public_url: where browsers find the app, without a slash at the end (SUBHULL_PUBLIC_URL)
    admins: addresses, in small letters, of those who are administrators whatever the table says (SUBHULL_ADMINS)
    default_role: of somebody who signs in for the first time (SUBHULL_DEFAULT_ROLE)
    jobs, disk: what one person may have running and queued, and keep in bytes; None is no limit
        (SUBHULL_QUOTA_JOBS, SUBHULL_QUOTA_GB)
    """

    metadata_url: str
    client_id: str
    client_secret: str = field(repr=False)
    cookie_secret: str = field(repr=False)
    public_url: str
    admins: frozenset[str] = frozenset()
    default_role: str = "viewer"
    jobs: int | None = None
    disk: int | None = None

    @property
    def origin(self) -> str:
        """Scheme and host of the public address, as browsers write Origin."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"


def accounts() -> Accounts | None:
    """Who may sign in; None where the app is one local person's. Raises SettingsError where that is half said."""
    issuer = os.environ.get("SUBHULL_OIDC_ISSUER", "").strip()
    if not issuer:
        said = [name for name in _OF_ACCOUNTS if os.environ.get(name)]
        if said:
            raise SettingsError(f"{said[0]} is set but SUBHULL_OIDC_ISSUER is not: name the provider too.")
        return None
    if not _is_safe_address(issuer):
        raise SettingsError("SUBHULL_OIDC_ISSUER is no https address: write it as https://PROVIDER/REALM.")
    public = os.environ.get("SUBHULL_PUBLIC_URL", "").strip().rstrip("/")
    if not _is_safe_address(public) or public.endswith("/oauth2callback"):
        raise SettingsError(
            "SUBHULL_PUBLIC_URL has to say where browsers find the app, as https://HOST (http on loopback only): "
            "the provider sends people back to /oauth2callback there."
        )
    cookie_secret = _secret("SUBHULL_COOKIE_SECRET")
    if len(cookie_secret) < 32:
        raise SettingsError("SUBHULL_COOKIE_SECRET is shorter than 32 characters: take a long random one.")
    role = os.environ.get("SUBHULL_DEFAULT_ROLE") or FIRST_ROLES[0]
    if role not in FIRST_ROLES:
        raise SettingsError(f"SUBHULL_DEFAULT_ROLE is {role!r}: use one of {', '.join(FIRST_ROLES)}.")
    gigabytes = _limit("SUBHULL_QUOTA_GB", 50.0)
    jobs = _limit("SUBHULL_QUOTA_JOBS", 10)
    return Accounts(
        metadata_url=issuer if issuer.endswith(WELL_KNOWN) else issuer.rstrip("/") + WELL_KNOWN,
        client_id=_needed("SUBHULL_OIDC_CLIENT_ID"),
        client_secret=_secret("SUBHULL_OIDC_CLIENT_SECRET"),
        cookie_secret=cookie_secret,
        public_url=public,
        admins=_addresses(os.environ.get("SUBHULL_ADMINS", "")),
        default_role=role,
        jobs=None if jobs is None else int(jobs),
        disk=None if gigabytes is None else int(gigabytes * 10**9),
    )


def is_loopback(host: str) -> bool:
    """Is this a name or an address that only this machine reaches?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_safe_address(url: str) -> bool:
    """https, or http on loopback, without anything after the path."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.query or parts.fragment or parts.username or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def _needed(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise SettingsError(f"SUBHULL_OIDC_ISSUER is set but {name} is not: accounts need both.")
    return value


def _secret(name: str) -> str:
    """From a variable, or from the file that NAME_FILE names. The value is never repeated."""
    path = os.environ.get(f"{name}_FILE", "").strip()
    if not path:
        return _needed(name)
    if os.environ.get(name):
        raise SettingsError(f"{name} and {name}_FILE are both set: keep one of them.")
    try:
        value = Path(path).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}_FILE names {path}, which cannot be read.") from error
    if not value:
        raise SettingsError(f"{name}_FILE names {path}, which is empty.")
    return value


def _addresses(text: str) -> frozenset[str]:
    found = frozenset(part.strip().lower() for part in text.replace(",", " ").split())
    wrong = sorted(address for address in found if "@" not in address)
    if wrong:
        raise SettingsError(f"SUBHULL_ADMINS holds {wrong[0]!r}, which is no address: write them as A@HOST,B@HOST.")
    return found


def _limit(name: str, usual: float) -> float | None:
    """A number; 0 is no limit, which None stands for."""
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else float(usual)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10**9:
        raise SettingsError(f"{name} is {text!r}: write a number, 0 for no limit.")
    return value or None
