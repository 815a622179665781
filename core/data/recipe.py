"""Which structures a dataset takes: the paper's filters (section 4.1), each with what remains after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pymatgen.core import Element

from core.data.arrays import StructureArrays

LONGEST_METHOD = 64  # letters of the name of an energy method
WORDS = {
    "all": "everything",
    "elements": "chemical elements",
    "method": "energy method",
    "atoms": "atoms per cell",
    "energy": "formation energy",
    "common elements": "elements common enough",
    "common groups": "space groups common enough",
    "sane": "no suspicious structures",
    "groups": "space groups",
    "duplicates": "duplicates dropped",
    "polymorphs": "polymorphs per formula",
    "polymorphs again": "polymorphs per formula, again",
}


@dataclass(frozen=True)
class Recipe:
    """How a dataset is made of imports. None or an empty tuple leaves a filter out.

    methods: energy methods, the first that a structure has is taken; more than one mixes them, which is never a default
    atoms: smallest and largest cell; energy: open interval of the formation energy, eV/atom
    elements: only structures of these; without: none with these; groups: only these space groups
    min_share: elements and space groups in fewer than this share of the structures are dropped with them
    suspicious: keep what `suspicious` finds; duplicates: keep structures that match a lower one of their formula
    min_polymorphs: formulas with fewer structures are dropped
    split: share of the formulas held out for validation, chemical elements balanced; seed: of that draw
    own_split: where every row of the files names its part, that is kept instead
    """

    methods: tuple[str, ...] = ()
    atoms: tuple[int, int] | None = None
    energy: tuple[float, float] | None = None
    elements: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    min_share: float = 0.0
    suspicious: bool = True
    duplicates: bool = True
    min_polymorphs: int = 1
    split: float = 0.05
    seed: int = 0
    own_split: bool = True

    @property
    def method(self) -> str:
        """One name for its energies: "A + B"; of names that are too long together "A + B + 4 others"."""
        for shown in range(len(self.methods), 0, -1):
            rest = len(self.methods) - shown
            others = [f"{rest} other{'s' * (rest > 1)}"] if rest else []
            if len(text := " + ".join([*self.methods[:shown], *others])) <= LONGEST_METHOD:
                return text
        return f"{len(self.methods)} methods" if len(self.methods) > 1 else "".join(self.methods)[:LONGEST_METHOD]


PAPER = Recipe(atoms=(4, 60), energy=(-5.0, 5.0), min_share=0.01, min_polymorphs=7)


def check_recipe(recipe: Recipe) -> None:
    """Raises ValueError with a sentence for values that make no sense."""
    for name, window in (("atoms per cell", recipe.atoms), ("formation energy", recipe.energy)):
        if window and not window[0] <= window[1]:
            raise ValueError(f"The range of the {name} is upside down: {window[0]:g} is above {window[1]:g}.")
    if not 0 <= recipe.min_share < 1:
        raise ValueError("The smallest share is a number from 0 to 1: 0.01 is one per cent.")
    if not 0 <= recipe.split < 1:
        raise ValueError("The share for validation is a number from 0 to 1: 0.05 is five per cent.")
    if recipe.min_polymorphs < 1:
        raise ValueError("The number of polymorphs per formula is 1 or more.")
    if not all(1 <= g <= 230 for g in recipe.groups):
        raise ValueError("Space groups are numbers from 1 to 230.")
    for symbol in (*recipe.elements, *recipe.without):
        _number(symbol)


@dataclass(frozen=True)
class Stage:
    """What remains after a filter. name: its key in `WORDS`, or "all" before any."""

    name: str
    structures: int
    formulas: int
    elements: int
    groups: int


@dataclass(frozen=True, eq=False)
class Columns:
    """Imports side by side: what filters look at, one value per structure.

    part: (M,) uint8 which import; row: (M,) int64 where in it; formula: (M,) int32 index into `formulas`
    """

    arrays: Sequence[StructureArrays]
    part: np.ndarray
    row: np.ndarray
    formula: np.ndarray
    natoms: np.ndarray
    group: np.ndarray
    volume: np.ndarray
    closest: np.ndarray
    ids: np.ndarray
    split: np.ndarray
    formulas: list[str]

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def shares(self) -> np.ndarray:
        """(F, 119) float32 atomic share of each element in each formula, from its first structure."""
        found = np.zeros((len(self.formulas), 119), dtype=np.float32)
        formulas, first = np.unique(self.formula, return_index=True)
        for k, arrays in enumerate(self.arrays):
            mine = self.part[first] == k
            for chosen in np.array_split(np.flatnonzero(mine), max(1, mine.sum() // 50_000)):
                if len(chosen):
                    numbers = arrays.crystals(self.row[first[chosen]]).numbers.numpy()
                    where = np.broadcast_to(formulas[chosen][:, None], numbers.shape)
                    np.add.at(found, (where[numbers > 0], numbers[numbers > 0]), 1.0)
        return found / np.maximum(found.sum(1, keepdims=True), 1)

    @cached_property
    def presence(self) -> np.ndarray:
        """(F, 119) bool: does the formula hold the element?"""
        found: np.ndarray = self.shares > 0
        return found

    @property
    def methods(self) -> dict[str, int]:
        """Energy method -> structures that have it."""
        counts: dict[str, int] = {}
        for part in self.arrays:
            for method, values in part.energies.items():
                counts[method] = counts.get(method, 0) + int(np.isfinite(values).sum())
        return {method: count for method, count in counts.items() if count}

    def energy(self, methods: Sequence[str]) -> np.ndarray:
        """(M,) float32 eV/atom by the first of the methods that each structure has, NaN without."""
        result = np.full(len(self), np.nan, dtype=np.float32)
        for method in reversed(methods):
            values = [part.energies.get(method, np.full(len(part), np.nan, dtype=np.float32)) for part in self.arrays]
            found = np.concatenate(values) if values else result
            result = np.where(np.isfinite(found), found, result)
        return result


def side_by_side(arrays: Sequence[StructureArrays]) -> Columns:
    """The columns of several imports; equal formulas become one."""
    formulas: dict[str, int] = {}
    formula = []
    for part in arrays:
        index = np.array([formulas.setdefault(f, len(formulas)) for f in part.formulas], dtype=np.int32)
        formula.append(index[part.formula] if len(part) else np.zeros(0, dtype=np.int32))

    def joined(value: Callable[[StructureArrays], np.ndarray]) -> np.ndarray:
        return np.concatenate([np.asarray(value(a)) for a in arrays]) if arrays else np.zeros(0, dtype=np.int64)

    return Columns(
        arrays,
        np.repeat(np.arange(len(arrays)), [len(a) for a in arrays]).astype(np.uint8),
        joined(lambda a: np.arange(len(a))),
        np.concatenate(formula) if formula else np.zeros(0, dtype=np.int32),
        joined(lambda a: a.natoms),
        joined(lambda a: a.group),
        joined(lambda a: a.volume),
        joined(lambda a: a.closest),
        joined(lambda a: a.ids),
        joined(lambda a: a.split),
        list(formulas),
    )


def apply_recipe(columns: Columns, recipe: Recipe) -> tuple[np.ndarray, list[Stage]]:
    """(M,) bool which structures stay, and what each filter left. Duplicates are not looked for here.

    Raises ValueError for a recipe that makes no sense (`check_recipe`), or whose energies nobody has.
    """
    check_recipe(recipe)
    if recipe.energy and not recipe.methods:
        raise ValueError("No structure has a formation energy: take the energy window away.")
    energy = columns.energy(recipe.methods)
    keep = np.ones(len(columns), dtype=bool)
    stages = [stage_of(columns, keep, "all")]

    def narrow(name: str, good: np.ndarray) -> None:
        np.logical_and(keep, good, out=keep)
        stages.append(stage_of(columns, keep, name))

    if recipe.elements or recipe.without:
        narrow("elements", _chemistry(columns, recipe))
    if recipe.energy:
        narrow("method", np.isfinite(energy))
    if recipe.atoms:
        narrow("atoms", (columns.natoms >= recipe.atoms[0]) & (columns.natoms <= recipe.atoms[1]))
    if recipe.energy:
        with np.errstate(invalid="ignore"):
            narrow("energy", (energy > recipe.energy[0]) & (energy < recipe.energy[1]))
    if not recipe.suspicious:
        narrow("sane", ~suspicious(columns, energy)[0])
    if recipe.min_share > 0:
        narrow("common elements", _common_elements(columns, keep, recipe.min_share))
        counts = np.bincount(columns.group[keep], minlength=231)
        narrow("common groups", (counts >= recipe.min_share * keep.sum())[columns.group])
    if recipe.groups:
        narrow("groups", np.isin(columns.group, recipe.groups))
    if recipe.min_polymorphs > 1:
        sizes = np.bincount(columns.formula[keep], minlength=len(columns.formulas))
        narrow("polymorphs", (sizes >= recipe.min_polymorphs)[columns.formula])
    return keep, stages


def suspicious(columns: Columns, energy: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(M,) bool what deserves a second look, and the same by reason.

    Atoms closer than 0.5 Å, |formation energy| above 5 eV/atom, a volume under a third or over four times that of its
    elements as fitted to the structures themselves (least squares over formulas, robust by the median).
    """
    usual = _usual_volume(columns)
    with np.errstate(invalid="ignore"):
        reasons = {
            "atoms closer than 0.5 Å": columns.closest < 0.5,
            "formation energy beyond ±5 eV/atom": np.abs(energy) > 5,
            "volume far from its elements'": (columns.volume < usual / 3) | (columns.volume > 4 * usual),
        }
    return np.logical_or.reduce(list(reasons.values())), reasons


def _chemistry(columns: Columns, recipe: Recipe) -> np.ndarray:
    allowed = np.ones(len(columns.formulas), dtype=bool)
    wanted, refused = ([_number(s) for s in symbols] for symbols in (recipe.elements, recipe.without))
    if wanted:
        others = np.ones(119, dtype=bool)
        others[wanted] = False
        allowed &= ~columns.presence[:, others].any(1)
    if refused:
        allowed &= ~columns.presence[:, refused].any(1)
    return allowed[columns.formula]


def _common_elements(columns: Columns, keep: np.ndarray, share: float) -> np.ndarray:
    """(M,) bool: every element of the structure is in at least `share` of those kept."""
    counts = np.bincount(columns.formula[keep], minlength=len(columns.formulas))
    rare = counts @ columns.presence < share * counts.sum()
    good: np.ndarray = np.logical_not(columns.presence[:, rare].any(axis=1))[columns.formula]
    return good


def _usual_volume(columns: Columns) -> np.ndarray:
    """(M,) Å³ per atom expected from the elements: their volumes fitted to the median volume of each formula."""
    if not len(columns):
        return np.zeros(0)
    order = np.argsort(columns.volume, kind="stable")
    order = order[np.argsort(columns.formula[order], kind="stable")]
    sizes = np.bincount(columns.formula, minlength=len(columns.formulas))
    middle = np.cumsum(sizes) - sizes + sizes // 2
    median = np.zeros(len(sizes))
    median[sizes > 0] = columns.volume[order][np.minimum(middle[sizes > 0], len(order) - 1)]
    shares = columns.shares
    used = (sizes > 0) & np.isfinite(median) & (median > 0)
    present = shares[used].any(0)
    fitted = np.zeros(119)
    weight = np.ones(int(used.sum()))
    for _ in range(5):  # reweighted least squares: a formula far off counts little
        a, b = shares[used][:, present] * weight[:, None], median[used] * weight
        fitted[present] = np.linalg.lstsq(a.T @ a + 1e-6 * np.eye(present.sum()), a.T @ b, rcond=None)[0]
        residual = np.abs(shares[used] @ fitted - median[used])
        weight = 1 / np.sqrt(1 + (residual / 3.0) ** 2)
    expected: np.ndarray = np.clip(shares @ fitted, 3.0, None)[columns.formula]
    return expected


def stage_of(columns: Columns, keep: np.ndarray, name: str) -> Stage:
    """What the kept structures are, counted."""
    sizes = np.bincount(columns.formula[keep], minlength=len(columns.formulas)) if len(columns) else np.zeros(0)
    elements = int(columns.presence[sizes > 0].any(0).sum()) if len(columns) else 0
    groups = np.bincount(columns.group[keep], minlength=231)[1:]
    return Stage(name, int(keep.sum()), int((sizes > 0).sum()), elements, int((groups > 0).sum()))


def _number(symbol: str) -> int:
    if not Element.is_valid_symbol(symbol):
        raise ValueError(f"{symbol!r} is no element: write symbols such as B, Ta, W.")
    return int(Element(symbol).Z)
