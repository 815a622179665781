"""From an import's arrays to a dataset: memory-mapped structures, filters, splits, pairs, duplicates, tensor files."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.crystals import Crystals, pack_cells, unpack_cells
from core.data.arrays import ArrayWriter, StructureArrays, open_arrays, write_arrays
from core.data.duplicates import find_duplicates
from core.data.fitted_pairs import fit_pairs
from core.data.pairs import (
    PAPER_CODE,
    PAPER_TEXT,
    PairRules,
    draw_pairs,
    every_pair,
    lowest_energy_pairs,
    pair_groups,
    too_large,
)
from core.data.readers.records import Record
from core.data.recipe import PAPER, Columns, Recipe, apply_recipe, side_by_side, suspicious
from core.data.splits import split_by_formula
from core.data.tensors import CrystalView, TensorData, read_tensors, write_membership, write_tensors

ELEMENTS = {5: "B", 6: "C", 22: "Ti", 73: "Ta", 74: "W"}


def random_records(count: int, seed: int = 0, formulas: int = 12) -> list[Record]:
    """Crystals of a few formulas with random cells, groups and energies; some energies unknown or by another method."""
    rng = np.random.default_rng(seed)
    contents = [
        {
            int(z): int(n)
            for z, n in zip(rng.choice(list(ELEMENTS), 2, replace=False), rng.integers(1, 4, 2), strict=True)
        }
        for _ in range(formulas)
    ]
    made = []
    for i in range(count):
        content = contents[int(rng.integers(formulas))]
        units = int(rng.integers(1, 3))
        numbers = [z for z, n in sorted(content.items()) for _ in range(n * units)]
        crystals = Crystals(
            torch.from_numpy(rng.random((1, len(numbers), 3))),
            torch.eye(3).double()[None] * 5 + torch.from_numpy(rng.normal(0, 0.3, (1, 3, 3))),
            torch.tensor([numbers]),
            torch.zeros(1, dtype=torch.int64),
            torch.full((1,), torch.nan, dtype=torch.float64),
        )
        name = "".join(f"{ELEMENTS[z]}{n}" for z, n in sorted(content.items()))
        energies = {} if i % 11 == 0 else {"A" if i % 7 else "B": (None, float(rng.normal(-0.5, 0.3)))}
        volume = float(np.mean([10 + z / 10 for z in numbers]) * rng.uniform(0.8, 1.2))
        made.append(
            Record(
                f"line {i}", f"s{i}", name, "-".join(sorted(ELEMENTS[z] for z in content)), len(numbers),
                int(rng.choice([1, 12, 62, 225], p=[0.05, 0.35, 0.3, 0.3])), pack_cells(crystals)[0], energies, volume,
                1.0,
            )
        )  # fmt: skip
    return made


def arrays_of(folder: Path, records: list[Record]) -> StructureArrays:
    write_arrays(
        folder,
        [(records[i : i + 50], range(i + 1, i + 1 + len(records[i : i + 50]))) for i in range(0, len(records), 50)],
    )
    return open_arrays(folder)


def dataset_of(columns: Columns, method: str = "A") -> TensorData:
    view = CrystalView(
        columns.arrays,
        torch.from_numpy(columns.part),
        torch.from_numpy(columns.row),
        torch.from_numpy(columns.natoms),
        torch.from_numpy(columns.group.astype(np.int64)),
        torch.from_numpy(columns.energy([method])),
    )
    formula = torch.from_numpy(columns.formula.astype(np.int64))
    split = split_by_formula(columns.formula, columns.presence, 0.2, 0)
    return TensorData(
        view, torch.from_numpy(columns.ids), formula, split, columns.formulas, "n", method, "h", {"seed": 0}
    )


@pytest.fixture
def columns(tmp_path: Path) -> Columns:
    """Two imports that share formulas."""
    parts = [arrays_of(tmp_path / str(k), random_records(400, seed=k)) for k in (0, 0)]
    return side_by_side([*parts, arrays_of(tmp_path / "2", random_records(300, seed=3))])


def test_arrays_give_back_the_stored_cells(tmp_path: Path) -> None:
    records = random_records(230)
    arrays = arrays_of(tmp_path / "x", records)
    expected = unpack_cells([r.cell for r in records], [r.space_group for r in records])
    rows = np.random.default_rng(0).permutation(230)
    found = arrays.crystals(rows)
    wanted = expected[rows.tolist()].trim()
    torch.testing.assert_close(found.frac.double(), wanted.frac, atol=1e-7, rtol=0)
    torch.testing.assert_close(found.lattice.double(), wanted.lattice, atol=1e-5, rtol=0)
    assert torch.equal(found.numbers, wanted.numbers)
    assert torch.equal(found.group, wanted.group)
    assert [arrays.formulas[i] for i in arrays.formula.tolist()] == [r.formula for r in records]
    for method in "AB":
        known = [r.energies.get(method, (None, np.nan))[1] for r in records]
        np.testing.assert_allclose(arrays.energies[method], np.array(known, dtype=float), rtol=1e-6)
    assert isinstance(arrays.frac, np.memmap), "held on disk, not in memory"


def test_a_coordinate_just_under_one_stays_in_the_cell(tmp_path: Path) -> None:
    record = random_records(1)[0]
    frac = torch.full((1, record.natoms, 3), 1 - 2.0**-32, dtype=torch.float64)
    cell = unpack_cells([record.cell])
    packed = pack_cells(Crystals(frac, cell.lattice, cell.numbers, cell.group, cell.energy))[0]
    found = arrays_of(tmp_path / "x", [replace(record, cell=packed)]).crystals(np.array([0]))
    assert bool((found.frac == 0).all())


def test_unfinished_or_damaged_arrays_are_refused(tmp_path: Path) -> None:
    writer = ArrayWriter(tmp_path / "x")
    writer.append(random_records(3), [1, 2, 3])
    writer.close()
    with pytest.raises(ValueError, match="missing or damaged"):
        open_arrays(tmp_path / "x")
    arrays_of(tmp_path / "y", random_records(20))
    (tmp_path / "y" / "frac").write_bytes(b"")
    with pytest.raises(ValueError, match="missing or damaged"):
        open_arrays(tmp_path / "y")
    with pytest.raises(ValueError, match="does not fit"):
        arrays_of(tmp_path / "z", [replace(random_records(1)[0], cell=b"short")])
    assert not (tmp_path / "z").exists()


def test_imports_side_by_side_share_formulas(columns: Columns) -> None:
    assert len(columns) == 1100
    assert columns.formulas[: len(columns.arrays[0].formulas)] == columns.arrays[0].formulas
    assert np.array_equal(columns.formula[:400], columns.formula[400:800])
    for i, formula in enumerate(columns.formulas):
        assert {z for z in range(119) if columns.presence[i, z]} == {z for z, s in ELEMENTS.items() if s in formula}
    assert columns.methods == {m: sum(int(np.isfinite(a.energies[m]).sum()) for a in columns.arrays) for m in "AB"}
    first = columns.energy(["A", "B"])
    both = np.where(np.isfinite(columns.energy(["A"])), columns.energy(["A"]), columns.energy(["B"]))
    np.testing.assert_array_equal(first, both)


RECIPES = {
    "atoms": Recipe(atoms=(4, 6)),
    "energy": Recipe(methods=("A",), energy=(-0.8, -0.2)),
    "share": Recipe(min_share=0.1),
    "polymorphs": Recipe(min_polymorphs=60),
    "elements": Recipe(elements=("B", "Ta", "W")),
    "without": Recipe(without=("C",)),
    "groups": Recipe(groups=(12, 62)),
    "all": Recipe(methods=("A",), atoms=(3, 8), energy=(-1.0, 0.0), min_share=0.06, min_polymorphs=30),
}


@pytest.mark.parametrize("name", RECIPES)
def test_filters_keep_what_a_plain_loop_keeps(columns: Columns, name: str) -> None:
    """The reference is the definition, structure by structure."""
    recipe = RECIPES[name]
    keep, stages = apply_recipe(columns, recipe)
    energy = columns.energy(recipe.methods)
    left = list(range(len(columns)))

    def holds(i: int) -> set[str]:
        return {s for s in ELEMENTS.values() if s in columns.formulas[columns.formula[i]]}

    if recipe.elements:
        left = [i for i in left if holds(i) <= set(recipe.elements)]
    if recipe.without:
        left = [i for i in left if not holds(i) & set(recipe.without)]
    if recipe.atoms:
        left = [i for i in left if recipe.atoms[0] <= columns.natoms[i] <= recipe.atoms[1]]
    if recipe.energy:
        left = [i for i in left if recipe.energy[0] < energy[i] < recipe.energy[1]]
    if recipe.min_share:
        counts = Counter(e for i in left for e in holds(i))
        left = [i for i in left if all(counts[e] >= recipe.min_share * len(left) for e in holds(i))]
        groups = Counter(int(columns.group[i]) for i in left)
        left = [i for i in left if groups[int(columns.group[i])] >= recipe.min_share * len(left)]
    if recipe.groups:
        left = [i for i in left if columns.group[i] in recipe.groups]
    sizes = Counter(int(columns.formula[i]) for i in left)
    left = [i for i in left if sizes[int(columns.formula[i])] >= recipe.min_polymorphs]
    assert np.flatnonzero(keep).tolist() == left
    assert 0 < len(left) < len(columns)
    assert stages[0].name == "all"
    assert stages[-1].structures == len(left)
    assert stages[-1].formulas == len({int(columns.formula[i]) for i in left})
    assert all(a.structures >= b.structures for a, b in itertools.pairwise(stages))


def test_a_recipe_with_an_unknown_element_is_refused(columns: Columns) -> None:
    with pytest.raises(ValueError, match="'Qq' is no element"):
        apply_recipe(columns, Recipe(elements=("Qq",)))
    assert PAPER.atoms == (4, 60)


def test_suspicious_structures_are_found_by_their_reason(tmp_path: Path) -> None:
    records = random_records(300)
    odd = {
        5: replace(records[5], closest=0.2),
        9: replace(records[9], energies={"A": (None, 9.0)}),
        20: replace(records[20], volume=900.0),
        21: replace(records[21], volume=0.5),
    }
    columns = side_by_side([arrays_of(tmp_path / "x", [odd.get(i, r) for i, r in enumerate(records)])])
    found, reasons = suspicious(columns, columns.energy(["A"]))
    assert np.flatnonzero(found).tolist() == sorted(odd)
    assert [np.flatnonzero(r).tolist() for r in reasons.values()] == [[5], [9], [20, 21]]
    keep, _ = apply_recipe(columns, Recipe(methods=("A",), suspicious=False))
    assert np.array_equal(keep, ~found)


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_no_formula_stands_in_two_parts_and_elements_are_balanced(share: float) -> None:
    rng = np.random.default_rng(0)
    presence = rng.random((2000, 30)) < np.linspace(0.02, 0.3, 30)
    formula = rng.integers(0, 2000, 9000)
    split = split_by_formula(formula, presence, share, 7).numpy()
    held, learned = set(formula[split == 1].tolist()), set(formula[split == 0].tolist())
    assert not held & learned
    assert len(held) == round(share * len(set(formula.tolist())))
    assert np.array_equal(split, split_by_formula(formula, presence, share, 7).numpy())
    assert not np.array_equal(split, split_by_formula(formula, presence, share, 8).numpy())
    away = np.abs(presence[sorted(held)].mean(0) - presence[sorted(learned)].mean(0)).mean()
    drawn = []
    for seed in range(20):  # a random draw of as many formulas
        order = np.random.default_rng(seed).permutation(2000)
        drawn.append(np.abs(presence[order[: len(held)]].mean(0) - presence[order[len(held) :]].mean(0)).mean())
    assert away < 0.6 * np.mean(drawn)


@pytest.mark.parametrize(
    ("count", "share", "held"), [(1, 0.5, 0), (2, 0.05, 1), (3, 0.9, 2), (40, 0.0, 0), (40, 0.1, 4)]
)
def test_small_splits_hold_out_at_least_one_formula_and_not_all(count: int, share: float, held: int) -> None:
    formula = np.repeat(np.arange(count), 3)
    split = split_by_formula(formula, np.eye(count, 30, dtype=bool), share, 0)
    assert int(split.sum()) == 3 * held


@pytest.mark.parametrize(
    "rules", [PairRules(), PairRules(per_group=2), PAPER_TEXT, PAPER_CODE, PairRules(same_size=True)]
)
def test_pairs_go_down_in_halves_within_their_caps(columns: Columns, rules: PairRules) -> None:
    data = dataset_of(columns)
    part = data.part(0)
    groups = pair_groups(data, part, rules)
    pairs = draw_pairs(groups, seed=3, epoch=5)
    assert len(pairs) > 10 or rules.per_group == 1
    start, target = pairs.T
    energy, natoms = data.crystals.energy, data.crystals.natoms
    assert bool((energy[start] >= energy[target]).all())
    assert torch.equal(data.formula[start], data.formula[target])
    assert set(start.tolist()) | set(target.tolist()) <= set(part.tolist())
    if rules.same_size:
        assert torch.equal(natoms[start], natoms[target])
    assert len(torch.unique(pairs, dim=0)) == len(pairs)
    lowest = {int(g) for k in range(rules.lowest) for g in groups.rows[groups.starts + np.minimum(k, groups.sizes - 1)]}
    first = sum(int(t) in lowest for t in target)
    assert first * 2 == len(pairs)
    keys = Counter(
        zip(data.formula[start].tolist(), natoms[start].tolist() if rules.same_size else start * 0, strict=True)
    )
    assert max(keys.values()) <= rules.per_group * (4 if rules.balanced else 1) or not rules.same_size
    assert torch.equal(pairs, draw_pairs(groups, 3, 5))
    assert not torch.equal(pairs, draw_pairs(groups, 3, 6))


def test_validation_pairs_are_all_and_only_the_lowest_ones(columns: Columns) -> None:
    data = dataset_of(columns)
    part = data.part(1)
    pairs = lowest_energy_pairs(pair_groups(data, part, PairRules(same_size=True))).tolist()
    energy, natoms = data.crystals.energy.numpy(), data.crystals.natoms.numpy()
    expected = 0
    for formula, size in {(int(data.formula[i]), int(natoms[i])) for i in part.tolist()}:
        members = [
            i for i in part.tolist() if data.formula[i] == formula and natoms[i] == size and energy[i] == energy[i]
        ]
        expected += max(0, len(members) - 1)
        if len(members) > 1:
            targets = {t for s, t in pairs if s in members}
            assert {float(energy[t]) for t in targets} == {min(float(energy[m]) for m in members)}
    assert len(pairs) == expected > 10


def test_groups_with_like_energies_or_few_polymorphs_make_no_pairs(tmp_path: Path) -> None:
    record = random_records(1)[0]
    records = [
        replace(record, label=f"{f}{i}", formula=f, energies={"A": (None, -1 + gap * i / record.natoms)})
        for f, gap, count in (("X", 0.02, 5), ("Y", 0.005, 5), ("Z", 0.02, 2))
        for i in range(count)
    ]
    data = dataset_of(side_by_side([arrays_of(tmp_path / "x", records)]))
    every = torch.arange(len(data))

    def formulas(rules: PairRules) -> set[str]:
        groups = pair_groups(data, every, rules)
        return {data.formulas[int(data.formula[groups.rows[s]])] for s in groups.starts}

    assert formulas(PairRules()) == {"X", "Y", "Z"}
    assert formulas(PairRules(min_gap=0.01)) == {"X", "Z"}
    assert formulas(PairRules(min_polymorphs=3)) == {"X", "Y"}


def test_duplicates_keep_the_lowest(tmp_path: Path) -> None:
    first, other = random_records(2, formulas=1)[:2]
    cell = unpack_cells([first.cell])
    moved = Crystals(  # the same crystal from another origin, slightly larger
        (cell.frac + 0.31) % 1.0, cell.lattice * 1.01, cell.numbers, cell.group, cell.energy
    )
    records = [
        replace(first, label="high", energies={"A": (None, -0.1)}),
        replace(first, label="low", cell=pack_cells(moved)[0], energies={"A": (None, -0.3)}),
        replace(other, label="another", formula=first.formula, energies={"A": (None, -0.2)}),
    ]
    columns = side_by_side([arrays_of(tmp_path / "x", records)])
    found = list(find_duplicates(columns, np.ones(3, dtype=bool), columns.energy(["A"]), processes=1))
    assert [(n, twice.tolist()) for n, twice in found] == [(3, [0])]


def test_pairs_have_energies_of_one_source_also_where_a_dataset_mixes_them(columns: Columns, tmp_path: Path) -> None:
    """The source is known from the imports' arrays, and an exported file keeps it beside the fitted pairs."""
    recipe = {"methods": ["A", "B"]}
    energy = torch.from_numpy(columns.energy(["A", "B"]))
    data = dataset_of(columns)
    data = replace(data, crystals=replace(data.crystals, energy=energy), recipe=recipe)
    write_membership(tmp_path / "m.safetensors", data)
    found = read_tensors(tmp_path / "m.safetensors", columns.arrays)
    assert found.source is not None
    by = [torch.from_numpy(columns.energy([method])).isfinite() for method in ("A", "B")]
    for i, known in enumerate(by):
        assert bool((found.source[known] == i).all()), "no structure has both"
    part = found.part(1)
    pairs = every_pair(pair_groups(found, part), 10_000)
    start, target = pairs.T
    assert torch.equal(found.source[start], found.source[target])
    assert bool((energy[start] >= energy[target]).all())
    assert set(map(tuple, lowest_energy_pairs(pair_groups(found, part)).tolist())) <= set(map(tuple, pairs.tolist()))
    fits = fit_pairs(found.crystals, pairs[:40])
    write_tensors(tmp_path / "whole.safetensors", replace(found, fits=fits))
    alone = read_tensors(tmp_path / "whole.safetensors")
    assert torch.equal(alone.source, found.source)  # type: ignore[arg-type]
    assert alone.fits is not None
    for ours, theirs in zip(vars(fits).values(), vars(alone.fits).values(), strict=True):
        assert torch.equal(ours, theirs)


def test_pairs_without_a_common_cell_are_left_out_and_counted(tmp_path: Path) -> None:
    records = [
        replace(record, formula="X", label=str(i), energies={"A": (None, -1 + 0.1 * i)})
        for i, record in enumerate(random_records(6, formulas=2))
    ]
    data = dataset_of(side_by_side([arrays_of(tmp_path / "x", records)]))
    natoms = data.crystals.natoms
    assert len(natoms.unique()) > 1
    most = int(natoms.max())
    groups = pair_groups(data, torch.arange(6), PairRules(most_sites=most))
    kept = lowest_energy_pairs(groups)
    reach = torch.lcm(natoms[1:], natoms[:1]) <= most
    assert len(kept) == int((reach | (natoms[1:] == natoms[0])).sum())
    assert too_large(groups) == 5 - len(kept)


def test_tensor_files_come_back_and_damage_is_said(columns: Columns, tmp_path: Path) -> None:
    data = dataset_of(columns)
    write_membership(tmp_path / "m.safetensors", data)
    write_tensors(tmp_path / "whole.safetensors", data, {"extra": torch.ones(2)})
    for found in (
        read_tensors(tmp_path / "m.safetensors", columns.arrays),
        read_tensors(tmp_path / "whole.safetensors"),
    ):
        rows = torch.tensor([7, 900, 0, 1099])
        for name in ("frac", "lattice", "numbers", "group"):
            assert torch.equal(getattr(found.crystals[rows], name), getattr(data.crystals[rows], name))
        torch.testing.assert_close(found.crystals.energy, data.crystals.energy, equal_nan=True)
        assert (found.formulas, found.name, found.method, found.hash) == (data.formulas, "n", "A", "h")
        assert torch.equal(found.split, data.split)
        assert found.recipe == {"seed": 0}
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["m.safetensors", "whole.safetensors"]
    with pytest.raises(ValueError, match="damaged"):
        read_tensors(tmp_path / "m.safetensors", columns.arrays[:1])
    whole = tmp_path / "whole.safetensors"
    whole.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged"):
        read_tensors(whole)
    with pytest.raises(ValueError, match="gone"):
        read_tensors(tmp_path / "none.safetensors")
    assert json.dumps(data.recipe)


@pytest.mark.parametrize(
    ("methods", "name"),
    [
        ((), ""),
        (("PBE",), "PBE"),
        (("M", "other"), "M + other"),
        (("x" * 30, "y" * 31), f"{'x' * 30} + {'y' * 31}"),
        (("x" * 30, "y" * 32), f"{'x' * 30} + 1 other"),
        (("one-of-20-letters---",) * 7, "one-of-20-letters--- + one-of-20-letters--- + 5 others"),
        (("x" * 60, "yy"), "2 methods"),
        (("x" * 80,), "x" * 64),
    ],
)
def test_mixed_energies_have_one_name_that_fits(methods: tuple[str, ...], name: str) -> None:
    """Wherever it is kept: in the store, in the file that training elsewhere reads, in the model that comes back."""
    assert Recipe(methods=methods).method == name
    assert len(name) <= 64
