"""How far an energy method errs: the margin to draw around what it says."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.settings import ASSETS

ERRORS = ASSETS / "references" / "errors.json"


@dataclass(frozen=True)
class MethodError:
    """The mean absolute error of a method's formation energies in eV/atom, over `structures`, `against` what."""

    mae: float
    structures: int
    against: str

    @property
    def sentence(self) -> str:
        return (
            f"Formation energies by this method err by {1000 * self.mae:.0f} meV/atom on average "
            f"({self.structures:,} structures, against {self.against})."
        )


def method_error(method: str, path: Path = ERRORS) -> MethodError | None:
    """What was measured for a method; None where nothing was."""
    try:
        return _read(path, path.stat().st_mtime_ns).get(method)
    except OSError:
        return None


@lru_cache(maxsize=4)
def _read(path: Path, _: int) -> dict[str, MethodError]:
    found = {}
    for method, row in json.loads(path.read_text()).items():
        error = MethodError(float(row["mae"]), int(row["structures"]), str(row["against"]))
        if math.isfinite(error.mae) and error.mae > 0:
            found[method] = error
    return found
