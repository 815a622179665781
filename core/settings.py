"""Every setting of the project, read from the environment in one place."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "assets"
AFLUX_URL = "https://aflow.org/API/aflux/"


class SettingsError(ValueError):
    """A setting that cannot be used; the message says which and what to write instead."""


@dataclass(frozen=True)
class Settings:
    """What the environment says, checked.

    var: folder of everything that is not committed: database, jobs, datasets, models (SUBHULL_VAR)
    database_url: SQLAlchemy URL, SQLite under `var` by default (SUBHULL_DATABASE_URL)
    m3gnet: folder of the M3GNet checkpoint in matgl's format, or None (SUBHULL_M3GNET)
    aflux_url: AFLOW's search API (SUBHULL_AFLUX_URL)
    owner: name written on jobs and candidates (SUBHULL_OWNER, else the system's user)
    """

    var: Path
    database_url: str
    m3gnet: Path | None
    aflux_url: str
    owner: str

    @property
    def shown_database(self) -> str:
        """The database without its password."""
        return re.sub(r"(://[^:/@]+):[^@]*@", r"\1@", self.database_url)


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
    return Settings(var, url, m3gnet, aflux, os.environ.get("SUBHULL_OWNER") or os.environ.get("USER") or "local")
