"""Which potentials are here, which one is used by default, and loading one that proves itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from core.crystals import Crystals, from_structures
from core.energy.potential import Potential, PotentialError

M3GNET_RELEASE = "M3GNet-MP-2021.2.8-PES"
_REPOSITORY = f"materialyze/{M3GNET_RELEASE}"  # matgl's own place for it
_FILES = ("model.json", "model.pt", "state.pt")
_TOLERANCE = 0.005  # eV/atom

# eV/atom of known crystals. M3GNet: the original software (materialsvirtuallab/m3gnet), as DESIGN records them;
# CHGNet: its own package on the day it was pinned. What does not reproduce them is refused.
PROOFS: dict[str, dict[str, float]] = {
    "m3gnet": {"MgO": -5.956, "NaCl": -3.368, "Si": -5.419},
    "chgnet": {"MgO": -6.314, "NaCl": -3.668, "Si": -5.314},
}


@dataclass(frozen=True)
class Choice:
    """A potential a user can pick. `problem` is "" where it can be used here, else what is missing."""

    key: str
    method: str
    about: str
    problem: str = ""


def choices(m3gnet_folder: Path | None = None) -> list[Choice]:
    """Every potential, best first, each with what keeps it from being used."""
    missing = (
        ""
        if find_m3gnet(m3gnet_folder)
        else (
            "its weights are not here: set SUBHULL_M3GNET to the folder of the checkpoint, or run "
            "`./run cli potentials fetch m3gnet` where the internet can be reached"
        )
    )
    return [
        Choice(
            "m3gnet",
            "M3GNet-MP-2021.2.8",
            "M3GNet, trained on the Materials Project's relaxations of 2021",
            missing,
        ),
        Choice(
            "chgnet",
            "CHGNet-0.3.0",
            "CHGNet 0.3.0, trained on the Materials Project's trajectories; comes with the app",
        ),
    ]


def default_choice(m3gnet_folder: Path | None = None) -> Choice:
    """M3GNet where its weights are found, else CHGNet."""
    return next(c for c in choices(m3gnet_folder) if not c.problem)


def find_m3gnet(folder: Path | None = None) -> Path | None:
    """The folder of M3GNet's checkpoint: the given one, else one that matgl has fetched; None where there is none."""
    for found in [folder] if folder else _fetched_folders():
        if found and all((found / name).is_file() for name in _FILES):
            return found
    return None


def matgl_cache() -> Path:
    """Where matgl keeps what it fetches."""
    return Path(os.environ.get("MATGL_CACHE") or Path.home() / ".cache" / "matgl")


def _fetched_folders() -> list[Path]:
    """Where a checkpoint lies in matgl's cache: as a plain folder, or as its Hugging Face hub stores it."""
    hub = matgl_cache() / f"models--{_REPOSITORY.replace('/', '--')}" / "snapshots"
    return [matgl_cache() / M3GNET_RELEASE, *sorted(hub.glob("*"))]


def fetch_m3gnet(timeout_s: float = 10.0) -> Path:
    """Fetch M3GNet's checkpoint once, from where matgl fetches it, into matgl's cache; returns its folder.

    Raises PotentialError where it cannot be reached; no answer is waited for longer than `timeout_s`.
    """
    from urllib.request import Request, urlopen

    from huggingface_hub import constants, hf_hub_download

    try:
        urlopen(
            Request(constants.ENDPOINT, method="HEAD"), timeout=timeout_s
        ).close()  # the hub itself retries for long
        for name in _FILES:
            hf_hub_download(_REPOSITORY, name, cache_dir=matgl_cache(), etag_timeout=timeout_s)
    except Exception as error:
        raise PotentialError(
            "M3GNet's weights could not be fetched: their place on the internet was not reached. Copy the folder "
            f"{M3GNET_RELEASE} from a machine that has it and set SUBHULL_M3GNET to it."
        ) from error
    folder = find_m3gnet()
    if folder is None:
        raise PotentialError(f"What was fetched into {matgl_cache()} is no checkpoint of M3GNet; delete that folder.")
    return folder


@lru_cache(maxsize=2)
def load_potential(key: str, m3gnet_folder: Path | None = None, device: str = "cpu") -> Potential:
    """A potential that reproduced its known energies here. Raises PotentialError where it is missing or wrong."""
    if key == "m3gnet":
        potential = _load_m3gnet(m3gnet_folder, device)
    elif key == "chgnet":
        from core.energy.chgnet import CHGNet

        potential = CHGNet(device)
    else:
        raise PotentialError(f"There is no potential {key!r}: choose m3gnet or chgnet.")
    prove(potential, PROOFS[key])
    return potential


def _load_m3gnet(m3gnet_folder: Path | None, device: str) -> Potential:
    from core.energy.m3gnet import M3GNet

    folder = find_m3gnet(m3gnet_folder)
    if folder is None:
        raise PotentialError(f"M3GNet cannot be used: {choices(m3gnet_folder)[0].problem}.")
    try:
        return M3GNet(folder, device)
    except PotentialError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        raise PotentialError(
            f"{folder} holds a damaged checkpoint of M3GNet: copy the folder again, or choose CHGNet."
        ) from error


def prove(potential: Potential, proofs: dict[str, float]) -> None:
    """Raises PotentialError unless every known energy (eV/atom) comes out within 5 meV/atom, batched."""
    crystals = _known_crystals(list(proofs))
    found = potential.evaluate(crystals)
    per_atom = found.energy / crystals.natoms
    expected = torch.tensor(list(proofs.values()), dtype=torch.float64)
    wrong = ~((per_atom - expected).abs() < _TOLERANCE)
    if bool(wrong.any()):
        listed = ", ".join(
            f"{name} {got:.3f} instead of {want:.3f}"
            for name, got, want, bad in zip(proofs, per_atom.tolist(), expected.tolist(), wrong.tolist(), strict=True)
            if bad
        )
        raise PotentialError(f"{potential.name} does not reproduce its known energies (eV/atom): {listed}. Not used.")


def _known_crystals(names: list[str]) -> Crystals:
    from pymatgen.core import Lattice, Structure

    known: dict[str, tuple[int, float, list[str], Any]] = {
        "MgO": (225, 4.25, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "NaCl": (225, 5.69, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "Si": (227, 5.46, ["Si"], [[0, 0, 0]]),
    }
    built = []
    for name in names:
        group, a, species, coordinates = known[name]
        conventional = Structure.from_spacegroup(group, Lattice.cubic(a), species, coordinates)
        built.append(conventional.get_primitive_structure())
    return from_structures(built)
