"""What happens to candidates after they are drawn, as the user chose it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What happens to candidates after they are drawn, in the same job.

    symmetrise: move sites and cell onto the group asked for, where that is found within a tolerance
    compare: datasets of the store that a candidate must be new against, beside the one its model learned from
    potential: None for no energies, "" for the default one, "m3gnet", "chgnet"
    relax: "cell" moves the cell too, "positions" the sites alone, "none" takes the energy as drawn
    fmax: eV/Å; keep_symmetry: of the group found; hull: its id, None for the newest of the potential's method
    """

    symmetrise: bool = False
    compare: tuple[str, ...] = ()
    potential: str | None = None
    relax: str = "cell"
    fmax: float = 0.05
    relax_steps: int = 500
    keep_symmetry: bool = False
    processes: int = 1
    hull: int | None = None
