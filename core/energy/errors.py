"""How far an energy method errs: the margin to draw around what it says."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.settings import ASSETS

ERRORS = ASSETS / "references" / "errors.json"  # `python -m benchmarks.formation_energies --write` makes it
# where they are the anion, the Materials Project corrects published energies (Wang et al., Sci. Rep. 11, 15496, 2021);
# a potential that learned bare ones is off by that much there, which says nothing of compounds without them
CORRECTED = ("H", "N", "O", "F", "Cl", "Br", "I", "S", "Se", "Te", "Si", "Sb")


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


def method_error(method: str, elements: Collection[str] = (), path: Path = ERRORS) -> MethodError | None:
    """What was measured for a method; None where nothing was.

    Among elements that the published energies have no corrections for, it is the error of such compounds.
    """
    try:
        row = _read(path, path.stat().st_mtime_ns).get(method)
    except OSError:
        return None
    if row is None:
        return None
    against = str(row["against"])
    bare = row.get("kinds", {}).get("uncorrected")
    if bare and elements and not set(elements) & set(CORRECTED):
        row, against = bare, f"{against}, compounds without {', '.join(CORRECTED[:-1])} or {CORRECTED[-1]}"
    mae = float(row["mae"])
    return MethodError(mae, int(row["structures"]), against) if math.isfinite(mae) and mae > 0 else None


@lru_cache(maxsize=4)
def _read(path: Path, _: int) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return found
