"""The batch of crystals that everything passes around, and its way to and from pymatgen and the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from pymatgen.core import Structure

_FIXED_POINT = 2.0**32  # fractional coordinates are kept as 32-bit fixed point: exact on the torus, 1e-9 Å
_CELL_BYTES = 9 * 8
_SITE_BYTES = 1 + 3 * 4


@dataclass(frozen=True)
class Crystals:
    """A padded batch of B crystals of at most N sites.

    frac: (B, N, 3) fractional coordinates in [0, 1), 0 at padding
    lattice: (B, 3, 3) rows a, b, c in Å
    numbers: (B, N) int64 atomic numbers, 0 at padding; the sites of a crystal come first
    group: (B,) int64 space group 1-230, 0 where unknown
    energy: (B,) formation energy in eV/atom, NaN where unknown
    """

    frac: Tensor
    lattice: Tensor
    numbers: Tensor
    group: Tensor
    energy: Tensor

    def __post_init__(self) -> None:
        b, n = self.numbers.shape
        shapes = [tuple(t.shape) for t in (self.frac, self.lattice, self.group, self.energy)]
        if shapes != [(b, n, 3), (b, 3, 3), (b,), (b,)]:
            raise ValueError(f"shapes {shapes} do not fit {b} crystals of {n} sites")

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor | Sequence[int] | np.ndarray) -> Crystals:
        """A sub-batch (slice, index list or boolean mask); one integer is not enough."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index, device=self.numbers.device)
        return Crystals(*(t[index] for t in self._tensors()))

    @property
    def mask(self) -> Tensor:
        """(B, N) bool, True at sites."""
        return self.numbers > 0

    @property
    def natoms(self) -> Tensor:
        """(B,) number of sites."""
        return self.mask.sum(1)

    @property
    def volume(self) -> Tensor:
        """(B,) cell volume in Å³."""
        return torch.linalg.det(self.lattice.double()).abs().to(self.lattice.dtype)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Crystals:
        """The same batch on another device and with floats of another type."""
        floats = [t.to(device=device, dtype=dtype) for t in (self.frac, self.lattice, self.energy)]
        return Crystals(floats[0], floats[1], self.numbers.to(device), self.group.to(device), floats[2])

    def trim(self) -> Crystals:
        """Without the columns that are padding for every crystal."""
        n = int(self.natoms.max()) if len(self) else 0
        return replace(self, frac=self.frac[:, :n], numbers=self.numbers[:, :n])

    def pad(self, sites: int) -> Crystals:
        """Padded to `sites` columns. Raises ValueError if a crystal has more sites than that."""
        if len(self) and int(self.natoms.max()) > sites:
            raise ValueError(f"{int(self.natoms.max())} sites do not fit into {sites}")
        numbers = self.numbers.new_zeros(len(self), sites)
        frac = self.frac.new_zeros(len(self), sites, 3)
        n = min(sites, self.numbers.shape[1])
        numbers[:, :n], frac[:, :n] = self.numbers[:, :n], self.frac[:, :n]
        return replace(self, frac=frac, numbers=numbers)

    def formula(self, index: int) -> str:
        """Cell content of one crystal by increasing electronegativity, as pymatgen writes it: "Ta2B4"."""
        from pymatgen.core import Composition, Element

        numbers, counts = np.unique(self.numbers[index][self.mask[index]].cpu().numpy(), return_counts=True)
        named = {Element.from_Z(int(z)).symbol: int(c) for z, c in zip(numbers, counts, strict=True)}
        return Composition(named).formula.replace(" ", "")

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.frac, self.lattice, self.numbers, self.group, self.energy


def wrap(frac: Tensor) -> Tensor:
    """Coordinates of any shape and value brought into [0, 1); tiny negatives become 0, never 1."""
    wrapped = frac - torch.floor(frac)
    return torch.where(wrapped >= 1, torch.zeros_like(wrapped), wrapped)


def concatenate(batches: Sequence[Crystals]) -> Crystals:
    """One batch from several, padded to the widest. Raises ValueError for no batch at all."""
    if not batches:
        raise ValueError("no crystals to join")
    width = max(b.numbers.shape[1] for b in batches)
    parts = zip(*(b.pad(width)._tensors() for b in batches), strict=True)
    return Crystals(*(torch.cat(list(p)) for p in parts))


def lattice_from_parameters(parameters: Tensor) -> Tensor:
    """(B, 6) a, b, c in Å and α, β, γ in degrees -> (B, 3, 3): a along x, b in the xy plane.

    Raises ValueError where no cell has these parameters.
    """
    lengths, angles = parameters[:, :3], torch.deg2rad(parameters[:, 3:])
    cos_a, cos_b, cos_g = torch.cos(angles).unbind(1)
    sin_g = torch.sin(angles[:, 2])
    cy = (cos_a - cos_b * cos_g) / sin_g
    cz2 = 1 - cos_b**2 - cy**2
    if not bool(((cz2 > 0) & (sin_g > 0) & (lengths > 0).all(1)).all()):
        raise ValueError("no cell has these lengths and angles")
    zero = torch.zeros_like(cy)
    rows = [
        torch.stack([torch.ones_like(cy), zero, zero], 1),
        torch.stack([cos_g, sin_g, zero], 1),
        torch.stack([cos_b, cy, cz2.sqrt()], 1),
    ]
    return torch.stack(rows, 1) * lengths[:, :, None]


def lattice_parameters(lattice: Tensor) -> Tensor:
    """(B, 3, 3) rows in Å -> (B, 6) a, b, c in Å and α, β, γ in degrees."""
    lengths = lattice.norm(dim=2)
    unit = lattice / lengths[:, :, None]
    a, b, c = unit.unbind(1)
    cosines = torch.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], 1)
    return torch.cat([lengths, torch.rad2deg(torch.arccos(cosines.clamp(-1, 1)))], 1)


def from_structures(
    structures: Sequence[Structure],
    groups: Sequence[int] | None = None,
    energies: Sequence[float] | None = None,
) -> Crystals:
    """A float64 batch from ordered pymatgen structures; groups default to 0, energies (eV/atom) to NaN.

    Raises ValueError for a disordered structure.
    """
    b, n = len(structures), max((len(s) for s in structures), default=0)
    frac, numbers = np.zeros((b, n, 3)), np.zeros((b, n), dtype=np.int64)
    lattice = np.zeros((b, 3, 3))
    for i, s in enumerate(structures):
        if not s.is_ordered:
            raise ValueError(f"{s.formula} is disordered")
        frac[i, : len(s)], numbers[i, : len(s)] = s.frac_coords, s.atomic_numbers
        lattice[i] = s.lattice.matrix
    return Crystals(
        wrap(torch.from_numpy(frac)),
        torch.from_numpy(lattice),
        torch.from_numpy(numbers),
        torch.zeros(b, dtype=torch.int64) if groups is None else torch.tensor(list(groups)),
        torch.full((b,), torch.nan, dtype=torch.float64)
        if energies is None
        else torch.tensor(list(energies), dtype=torch.float64),
    )


def to_structures(crystals: Crystals) -> list[Structure]:
    """pymatgen structures, one per crystal, in the order of the batch."""
    from pymatgen.core import Lattice, Structure

    tensors = (crystals.mask, crystals.lattice, crystals.numbers, crystals.frac)
    arrays = [t.detach().cpu().numpy() for t in tensors]
    return [
        Structure(Lattice(cell.astype(float)), numbers[keep], frac[keep].astype(float))
        for keep, cell, numbers, frac in zip(*arrays, strict=True)
    ]


def pack_cells(crystals: Crystals) -> list[bytes]:
    """Each crystal as the store keeps it: lattice (9 float64), numbers (uint8), frac (3 uint32 a site)."""
    lattice = crystals.lattice.double().numpy().astype("<f8")
    numbers = crystals.numbers.numpy().astype(np.uint8)
    fixed = np.rint(crystals.frac.double().numpy() * _FIXED_POINT).astype(np.uint64)
    fixed32 = (fixed % np.uint64(_FIXED_POINT)).astype("<u4")
    return [
        lattice[i].tobytes() + numbers[i, :n].tobytes() + fixed32[i, :n].tobytes()
        for i, n in enumerate(crystals.natoms.tolist())
    ]


def unpack_cells(
    cells: Sequence[bytes], groups: Sequence[int] | None = None, energies: Sequence[float] | None = None
) -> Crystals:
    """The inverse of `pack_cells`: a float64 batch. Raises ValueError for bytes that are no cell."""
    sizes = [(len(c) - _CELL_BYTES) / _SITE_BYTES for c in cells]
    if any(s < 1 or s != int(s) for s in sizes):
        raise ValueError("a stored cell is damaged: its length fits no number of sites")
    b, width = len(cells), int(max(sizes, default=0))
    frac, numbers = np.zeros((b, width, 3)), np.zeros((b, width), dtype=np.int64)
    lattice = np.zeros((b, 3, 3))
    for i, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
        n = int(size)
        lattice[i] = np.frombuffer(cell, "<f8", 9).reshape(3, 3)
        numbers[i, :n] = np.frombuffer(cell, np.uint8, n, _CELL_BYTES)
        frac[i, :n] = np.frombuffer(cell, "<u4", 3 * n, _CELL_BYTES + n).reshape(n, 3) / _FIXED_POINT
    return Crystals(
        torch.from_numpy(frac),
        torch.from_numpy(lattice),
        torch.from_numpy(numbers),
        torch.tensor(groups if groups is not None else [0] * b, dtype=torch.int64),
        torch.tensor(energies if energies is not None else [torch.nan] * b, dtype=torch.float64),
    )
