"""What every potential promises, and the guarded batch evaluation that all of them share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.crystals import Crystals

EV_PER_ANGSTROM3_IN_GPA = 160.21766208
MIN_VOLUME = 1.0  # Å³: nothing smaller is a crystal
MIN_DISTANCE = 0.5  # Å
_USUAL_WORK = 2000  # bonds and pairs of bonds of an atom in 8 Å³, denser than most crystals
MAX_VOLUME_PER_ATOM = 300.0  # Å³: atoms so far apart no longer see each other
MAX_WORK = 2_000_000  # bonds and pairs of bonds of one crystal: more takes gigabytes


class PotentialError(ValueError):
    """A potential that is missing, damaged or wrong; the message says what to do."""


@dataclass(frozen=True)
class Evaluation:
    """energy (B,) eV per crystal, forces (B, N, 3) eV/Å, stress (B, 3, 3) eV/Å³, all float64.

    `problem` is "" where the crystal was evaluated, else why not, as "word: sentence"; its numbers are NaN.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    problem: list[str]

    @property
    def ok(self) -> Tensor:
        """(B,) bool."""
        return torch.tensor([not p for p in self.problem], dtype=torch.bool)


class Potential(ABC):
    """A machine-learned force field. A new one needs `predict`, a name and the elements it knows.

    name: the energy method, with its release: "M3GNet-MP-2021.2.8"
    elements: atomic numbers it was trained on
    weights_hash: SHA-256 of its weights
    atoms_per_batch: how many atoms go through the network at once; halved for good when memory runs out
    cutoff, triple_cutoff: Å, up to where it sees bonds and the angles between bonds
    """

    name: str
    elements: frozenset[int]
    weights_hash: str
    atoms_per_batch = 400
    cutoff, triple_cutoff = 5.0, 4.0

    @abstractmethod
    def predict(self, crystals: Crystals) -> tuple[Tensor, Tensor, Tensor]:
        """Energy (B,) eV, forces (B, N, 3) eV/Å, stress (B, 3, 3) eV/Å³ of crystals that passed `screen`."""

    def evaluate(self, crystals: Crystals) -> Evaluation:
        """Energy, forces and stress of every crystal; one bad crystal never fails its batch.

        Left-handed cells are evaluated as their mirror image (CHGNet divides by the signed volume).
        """
        problem = screen(crystals, self.elements)
        hand = handedness(crystals.lattice)
        crystals = replace(crystals, lattice=crystals.lattice * hand)
        b, n = crystals.numbers.shape
        energy = torch.full((b,), math.nan, dtype=torch.float64)
        forces = torch.full((b, n, 3), math.nan, dtype=torch.float64)
        stress = torch.full((b, 3, 3), math.nan, dtype=torch.float64)
        work = self.work(crystals)
        for i in torch.nonzero(work > MAX_WORK).flatten().tolist():
            problem[i] = (
                problem[i] or f"packed too densely: {float(crystals.volume[i] / crystals.natoms[i]):.2f} Å³ per atom"
            )
        good = [i for i, p in enumerate(problem) if not p]
        for rows in batches(good, crystals.natoms, work, self.atoms_per_batch):
            for part, values in self._predict_guarded(crystals, rows, problem):
                width = values[1].shape[1]
                energy[part], stress[part] = values[0].double(), values[2].double()
                forces[part, :width] = values[1].double() * hand[part].double()
        forces[~crystals.mask] = 0.0
        for i in torch.nonzero(~torch.isfinite(energy)).flatten().tolist():
            problem[i] = problem[i] or f"no finite energy: {self.name} gives none"
        return Evaluation(energy, forces, stress, problem)

    def work(self, crystals: Crystals) -> Tensor:
        """(B,) how many bonds, and pairs of bonds at one atom, are to be expected: memory and time go by them."""
        density = crystals.natoms / crystals.volume.double().clamp(min=1e-9)
        bonds, angles = (4.19 * density * r**3 for r in (self.cutoff, self.triple_cutoff))
        return crystals.natoms * (bonds + angles**2)

    def _predict_guarded(
        self, crystals: Crystals, rows: list[int], problem: list[str]
    ) -> list[tuple[list[int], tuple[Tensor, Tensor, Tensor]]]:
        """The batch at once; where memory runs out its halves, where it fails its crystals one by one."""
        try:
            return [(rows, self.predict(crystals[rows].trim()))]
        except Exception as error:
            full = is_out_of_memory(error)
            if len(rows) == 1:
                reason = f"out of memory: alone it is too large for {self.name} here"
                problem[rows[0]] = reason if full else f"cannot be evaluated: {self.name} says {error}"
                return []
        if full:
            self.atoms_per_batch = max(1, min(self.atoms_per_batch, int(crystals.natoms[rows].sum())) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            parts = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
        else:
            parts = [[row] for row in rows]
        return [done for part in parts for done in self._predict_guarded(crystals, part, problem)]


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch and Python raise when a device or the machine has no memory left."""
    refused = ("can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in refused)


def batches(rows: Sequence[int], natoms: Tensor, work: Tensor, atoms: int, crystals: int = 10_000) -> list[list[int]]:
    """The rows by size, in groups of at most so many atoms, usual work for so many atoms, and crystals.

    natoms, work: (B,) of all crystals. A crystal that is larger than a group is a group of its own.
    """
    size, load = natoms.tolist(), work.tolist()
    groups: list[list[int]] = []
    held = heavy = 0.0
    for row in sorted(rows, key=lambda i: (size[i], load[i])):
        too_much = held + size[row] > atoms or heavy + load[row] > atoms * _USUAL_WORK
        if not groups or too_much or len(groups[-1]) == crystals:
            groups.append([])
            held = heavy = 0.0
        groups[-1].append(row)
        held, heavy = held + size[row], heavy + load[row]
    return groups


def screen(crystals: Crystals, elements: frozenset[int]) -> list[str]:
    """Per crystal: "" or why no potential should be asked about it, as "word: sentence"."""
    from pymatgen.core import Element

    problems = []
    volumes, distances = crystals.volume.tolist(), shortest_distances(crystals).tolist()
    for i, (volume, distance, natoms) in enumerate(zip(volumes, distances, crystals.natoms.tolist(), strict=True)):
        unknown = set(crystals.numbers[i][crystals.mask[i]].tolist()) - elements
        if natoms == 0 or not math.isfinite(volume):
            problems.append("no cell: it has no atoms or no finite cell")
        elif unknown:
            problems.append(
                f"unknown element: the potential does not know {', '.join(Element.from_Z(z).symbol for z in unknown)}"
            )
        elif volume < MIN_VOLUME:
            problems.append(f"cell under {MIN_VOLUME:g} Å³: it holds {volume:.2f} Å³")
        elif volume > MAX_VOLUME_PER_ATOM * natoms:
            problems.append(
                f"atoms too far apart: {volume / natoms:.0f} Å³ per atom, more than {MAX_VOLUME_PER_ATOM:g}"
            )
        elif not distance >= MIN_DISTANCE:
            problems.append(f"atoms under {MIN_DISTANCE:g} Å: two are {distance:.2f} Å apart")
        else:
            problems.append("")
    return problems


def handedness(lattice: Tensor) -> Tensor:
    """(…, 3, 3) -> (…, 1, 1): −1 where a, b, c are left-handed, else 1."""
    return torch.where(torch.linalg.det(lattice.double()) < 0, -1.0, 1.0).to(lattice.dtype)[..., None, None]


def shortest_distances(crystals: Crystals) -> Tensor:
    """(B,) shortest distance in Å between two atoms or an atom and its own image; exact for skewed cells too."""
    shortest = [
        _shortest(frac[mask].double(), lattice.double())
        for frac, lattice, mask in zip(crystals.frac, crystals.lattice, crystals.mask, strict=True)
    ]
    return torch.stack(shortest).to(crystals.lattice.dtype) if shortest else torch.zeros(0)


def _shortest(sites: Tensor, lattice: Tensor) -> Tensor:
    """Å, 0-dimensional. NaN for a cell that is not finite, 0 for one without volume."""
    if not bool(torch.isfinite(lattice).all() & torch.isfinite(sites).all()):
        return lattice.new_tensor(math.nan)
    if not len(sites):
        return lattice.new_tensor(math.inf)
    volume = torch.linalg.det(lattice).abs()
    if float(volume) < 1e-9:
        return lattice.new_zeros(())
    near = _shortest_within(sites, lattice, (1, 1, 1))
    needed = _images_needed(near, lattice, volume)
    if max(needed) > 1:  # farther images of a skewed cell may be nearer: look at the same crystal in a compact cell
        sites, lattice = _compact(sites, lattice)
        near = torch.minimum(near, _shortest_within(sites, lattice, (1, 1, 1)))
        near = torch.minimum(near, _shortest_within(sites, lattice, _images_needed(near, lattice, volume)))
    return near


def _images_needed(distance: Tensor, lattice: Tensor, volume: Tensor) -> tuple[int, int, int]:
    """How many cells away along a, b, c an image nearer than this may lie: |Δ + k| times the height is no longer."""
    a, b, c = lattice
    faces = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)]).norm(dim=1)
    needed = torch.floor(distance * faces / volume + 0.5 - 1e-9).int().clamp(min=1, max=4).tolist()
    return needed[0], needed[1], needed[2]


def _shortest_within(sites: Tensor, lattice: Tensor, images: tuple[int, int, int]) -> Tensor:
    """The shortest distance over images up to so many cells away along a, b, c."""
    ranges = [torch.arange(-n, n + 1, dtype=lattice.dtype) for n in images]
    shifts = torch.cartesian_prod(*ranges)  # (K, 3), the middle one is the cell itself
    delta = sites[:, None] - sites[None]
    delta = delta - delta.round()
    distance = ((delta[:, :, None] + shifts) @ lattice).norm(dim=-1)  # (n, n, K)
    distance[:, :, len(shifts) // 2].fill_diagonal_(torch.inf)  # an atom and itself
    return distance.min()


def _compact(sites: Tensor, lattice: Tensor) -> tuple[Tensor, Tensor]:
    """The same crystal in its LLL-reduced cell."""
    from pymatgen.core import Lattice

    reduced = torch.from_numpy(Lattice(lattice.numpy()).get_lll_reduced_lattice().matrix.copy())
    return sites @ lattice @ torch.linalg.inv(reduced), reduced
