"""What a model is evaluated on: structures of files or of a dataset, or pairs of them for a modifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from core.crystals import Crystals, unpack_cells
from core.data.arrays import SPLITS, formation_of
from core.data.fitted_pairs import Structures, starts_of
from core.data.pairs import PairGroups, lowest_energy_pairs, pair_groups, too_large
from core.data.readers.parsing import parse_rows
from core.data.readers.records import Record
from core.data.readers.sources import SourceError, raw_rows
from core.data.readers.structures import Parsed
from core.data.tensors import TRAIN, VALIDATION, CrystalView, TensorData
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import get_dataset, load_tensors

PARTS = ("", "train", "val")


@dataclass(frozen=True, eq=False)
class Targets:
    """What is asked for.

    structures: where structures are taken from; rows: (M,) of the targets; starts: (M,) of the structures to modify,
    None for generation; labels: a name for each of `rows`; skipped: rows of the files that could not be read
    available: structures there were to choose from; in pairs the lowest of each formula is the target of the others
    left_out: pairs without a common cell of 64 sites or fewer
    """

    structures: Structures
    rows: torch.Tensor
    starts: torch.Tensor | None
    labels: Sequence[str]
    skipped: int = 0
    available: int = 0
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: torch.Tensor) -> Crystals:
        """The targets themselves, float64, with groups and energies (eV/atom) where they are known."""
        return self.structures[self.rows[index]].to(dtype=torch.float64)

    def start(self, index: torch.Tensor) -> Crystals:
        """What is to be modified, float64, in the smallest cell of a content that the target's cells fill too.

        The start is reduced and grown without a look at the target (`core.data.common_cells.start_matrix`). Raises
        ValueError for generation.
        """
        if self.starts is None:
            raise ValueError("generation starts from nothing")
        rows = self.starts[index]
        times = self.natoms[index] // self.structures.natoms[rows]
        return starts_of(self.structures[rows].to(dtype=torch.float64), times.tolist())

    @property
    def natoms(self) -> torch.Tensor:
        """(M,) sites that are asked for: of each target, or of the cell that it has in common with its start."""
        found = self.structures.natoms[self.rows]
        return found if self.starts is None else torch.lcm(found, self.structures.natoms[self.starts])

    def where(self, keep: torch.Tensor) -> Targets:
        """Those for which `keep` (M,) is true."""
        return replace(self, rows=self.rows[keep], starts=None if self.starts is None else self.starts[keep])

    def some(self, limit: int, seed: int) -> torch.Tensor:
        """Which targets are looked at: all, or so many drawn by the seed, the same ones every time."""
        count = len(self)
        if not 0 < limit < count:
            return torch.arange(count)
        drawn: np.ndarray = np.random.default_rng(seed).permutation(count)[:limit]
        return torch.from_numpy(np.sort(drawn))


@dataclass(frozen=True, eq=False)
class PackedCells:
    """Structures of files as they are stored: nothing is unpacked before it is asked for.

    cells: as `core.crystals.pack_cells` writes them; natoms, group: (M,) int64; energy: (M,) eV/atom, NaN where unknown
    """

    cells: list[bytes]
    natoms: torch.Tensor
    group: torch.Tensor
    energy: torch.Tensor

    def __getitem__(self, index: torch.Tensor) -> Crystals:
        chosen = index.tolist()
        found = unpack_cells([self.cells[i] for i in chosen])
        return Crystals(found.frac, found.lattice, found.numbers, self.group[index], self.energy[index])


def find_targets(data: Sequence[str], dataset: str, split: str, pairs: bool, method: str, context: Context) -> Targets:
    """The targets of files or of a dataset (one of the two), of one part of them or of all.

    pairs: the lowest-energy pairs within one energy source, of any cell sizes that meet in 64 sites; method: the
    energies that are asked for, where a structure has several

    Raises UserError for files that cannot be read and for data without a target.
    """
    if split not in PARTS:
        raise UserError(f"There is no part {split!r}: choose train or val, or leave it out for all.")
    if bool(data) == bool(dataset):
        raise UserError("Name what to evaluate on: files of structures, or a dataset, and not both.")
    found = _of_dataset(dataset, split, pairs) if dataset else _of_files(data, split, pairs, method, context)
    if not len(found):
        where = dataset or ", ".join(Path(f).name for f in data)
        if pairs:
            raise UserError(
                f"{where} has no pairs to modify{_of_part(split)}: it takes two structures of one formula with "
                "energies of one source."
            )
        raise UserError(f"{where} has no structure{_of_part(split)}: leave out the part, or choose another.")
    return found


def _of_part(split: str) -> str:
    return f" in its part {split!r}" if split else ""


def _of_dataset(name: str, split: str, pairs: bool) -> Targets:
    data = load_tensors(get_dataset(name))
    rows = torch.arange(len(data)) if not split else data.part(TRAIN if split == "train" else VALIDATION)
    labels = _Ids(data)
    if not pairs:
        return Targets(data.crystals, rows, None, labels, 0, len(rows))
    return _between(data.crystals, pair_groups(data, rows), labels, 0, len(rows))


def _between(
    structures: Structures, groups: PairGroups, labels: Sequence[str], skipped: int, available: int
) -> Targets:
    """The lowest-energy pairs of groups."""
    pairs = lowest_energy_pairs(groups)
    return Targets(structures, pairs[:, 1], pairs[:, 0], labels, skipped, available, too_large(groups))


@dataclass(frozen=True, eq=False)
class _Ids(Sequence[str]):
    """Names of a dataset's structures: formula and number in the store."""

    data: TensorData

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        return f"{self.data.formulas[int(self.data.formula[index])]} {int(self.data.ids[index])}"


def _of_files(files: Sequence[str], split: str, pairs: bool, method: str, context: Context) -> Targets:
    cells: list[bytes] = []
    labels: list[str] = []
    natoms, groups, energies, kinds = [], [], [], []
    known: dict[tuple[str, str], int] = {}
    read = skipped = 0
    for name in files:
        for records, problems in _parsed(Path(name)):
            skipped += len(problems)
            read += len(records)
            for record in records:
                if split and SPLITS[record.split] != SPLITS[split]:
                    continue
                source, energy = _energy_of(record, method)
                cells.append(record.cell)
                labels.append(record.label)
                natoms.append(record.natoms)
                groups.append(record.space_group)
                energies.append(energy)
                kinds.append(known.setdefault((record.formula, source), len(known)))
            if context.cancelled():
                raise Cancelled
            context.progress(None, f"{read:,} structures read")
    if not read:
        raise UserError(f"No structure could be read from {', '.join(Path(f).name for f in files)}.")
    sizes, energy_ = torch.tensor(natoms, dtype=torch.int64), torch.tensor(energies, dtype=torch.float64)
    packed = PackedCells(cells, sizes, torch.tensor(groups, dtype=torch.int64), energy_)
    rows = torch.arange(len(cells))
    if not pairs:
        return Targets(packed, rows, None, labels, skipped, len(rows))
    same = _groups(packed, torch.tensor(kinds, dtype=torch.int64), [formula for formula, _ in known])
    return _between(packed, same, labels, skipped, len(rows))


def _parsed(path: Path) -> Iterator[Parsed]:
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    try:
        yield from parse_rows(raw_rows(path), "")
    except SourceError as error:
        raise UserError(str(error)) from error


def _energy_of(record: Record, method: str) -> tuple[str, float]:
    """(its source, eV/atom): by `method` where the structure has that, else its own; NaN without any."""
    if method in record.energies:
        return method, formation_of(record.energies[method])
    source = next(iter(record.energies), "")
    return source, formation_of(record.energies.get(source))


def _groups(packed: PackedCells, kinds: torch.Tensor, formulas: list[str]) -> PairGroups:
    """What pairs within a formula and an energy source, which `kinds` (M,) number."""
    rows = torch.arange(len(kinds))
    view = CrystalView([], torch.zeros_like(rows), rows, packed.natoms, packed.group, packed.energy)
    part = torch.zeros(len(rows), dtype=torch.int8)
    return pair_groups(TensorData(view, rows, kinds, part, formulas, "", "", ""), rows)
