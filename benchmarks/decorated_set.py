"""Make a set of decorated prototypes like AFLOW's, in the file format of `dataset import`, with two splits.

AFLOW's alloy libraries hold ordered superstructures of fcc and bcc and a few common crystal types, of 55 elements;
with A, B and two C the superstructures of up to four sites have 18 of the 19 space groups of the paper's dataset, and
55 elements give 78,705 such formulas (the paper: about 85,000). So this takes them (core.data.superstructures) and
pymatgen's AFLOW prototypes of the 19 groups with up to 20 atoms, decorates formulas drawn at random, brings each
structure to zero pressure in volume alone with M3GNet, and keeps formulas with ten distinct polymorphs or more.

    python -m benchmarks.decorated_set DIR [--formulas 2000] [--seed 0]

writes DIR/decorated.jsonl.gz (`split` by formula) and DIR/decorated_families.jsonl.gz (`split` by whole families of
prototypes: every structure of a family is in one part). Begun again it goes on; a second run gives the same files.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from pymatgen.core import Composition, Element, Structure

from core.data.prototypes import Decoration, atomic_volume, lettered, library
from core.data.splits import split_by_formula
from core.data.superstructures import PARENTS, superstructures
from core.data.symmetry import detect_groups
from core.energy.load import load_potential
from core.evaluation.matching import first_match
from core.settings import settings
from core.workflows.experiments import PAPER_GROUPS
from core.workflows.prototypes import PrototypeParams, append_formula, drop_unfinished, polymorphs

_NAMES = (
    "Ag Al As Au B Ba Be Bi Ca Cd Cl Co Cr Cu Fe Ga Ge Hf Hg In Ir K La Li Mg Mn Mo Na Nb Ni Os P Pb Pd Pt Rb Re Rh Ru "
    "Sb Sc Se Si Sn Sr Ta Tc Te Ti Tl V W Y Zn Zr"
)
ELEMENTS = _NAMES.split()
SHARES = {(1, 1, 2): 0.75, (1, 3): 0.15, (1, 1): 0.10, (1, 2): 0.0, (1, 1, 1): 0.0}  # kinds of formula; 0: left out
STAND_INS = ("Na", "Cl", "Mg")
MOST_ATOMS, FEWEST_POLYMORPHS, HELD_OUT = 20, 10, 0.1


@dataclass(frozen=True)
class Prototype:
    """family: AFLOW's label or the superstructure's; structure: with `STAND_INS`, the i-th of which has counts[i]."""

    family: str
    structure: Structure


def prototypes(counts: tuple[int, ...]) -> list[Prototype]:
    """Distinct by the paper's matcher at equal volume, of the paper's groups: published ones before superstructures.

    Whether two decorations are the same crystal does not depend on the elements' names, so this is asked once.
    """
    found = [*_published(counts), *_superstructures(counts)]
    kept: list[Prototype] = []
    for one in found:
        if first_match(one.structure, [other.structure for other in kept]) is None:
            kept.append(one)
    return kept


def _published(counts: tuple[int, ...]) -> Iterator[Prototype]:
    for label, published in sorted(library().items()):
        whole = published.composition.reduced_composition
        if tuple(sorted(int(whole[e]) for e in whole)) != counts:
            continue
        primitive = published.get_primitive_structure()
        if len(primitive) > MOST_ATOMS:
            continue
        letters = lettered(primitive)
        for order in permutations(STAND_INS[: len(counts)]):
            if any(int(whole[e]) != counts[STAND_INS.index(new)] for e, new in zip(letters, order, strict=True)):
                continue
            copy = primitive.copy()
            copy.replace_species({old: Element(new) for old, new in zip(letters, order, strict=True)})
            copy.scale_lattice(20.0 * len(copy))
            if _group(copy) in PAPER_GROUPS:
                yield Prototype(label, copy)


def _superstructures(counts: tuple[int, ...]) -> Iterator[Prototype]:
    for times in range(1, 4 // sum(counts) + 1):  # four sites at most
        for parent in PARENTS:
            for found in superstructures(parent, [times * c for c in counts], STAND_INS[: len(counts)]):
                if found.group in PAPER_GROUPS:
                    yield Prototype(found.family, found.structure)


def _group(structure: Structure) -> int:
    from core.crystals import from_structures

    return int(detect_groups(from_structures([structure]))[0])


def formulas(count: int, seed: int) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """(kind, elements) of so many formulas, in an order that mixes the kinds: the first of them are a set, too."""
    draw = random.Random(seed)
    chosen: list[tuple[float, tuple[int, ...], tuple[str, ...]]] = []
    for kind, share in SHARES.items():
        pool = [p for p in permutations(ELEMENTS, len(kind)) if _is_first(kind, p)]
        wanted = min(round(share * count), len(pool))
        chosen += [((i + 1) / max(wanted, 1), kind, p) for i, p in enumerate(draw.sample(pool, wanted))]
    return [(kind, elements) for _, kind, elements in sorted(chosen)]


def _is_first(kind: tuple[int, ...], elements: tuple[str, ...]) -> bool:
    """Of the orders that are one formula, is it the alphabetical one?"""
    pairs = zip(zip(kind, elements, strict=True), list(zip(kind, elements, strict=True))[1:], strict=False)
    return all(a[0] != b[0] or a[1] < b[1] for a, b in pairs)


def decorations(kind: tuple[int, ...], elements: tuple[str, ...], known: list[Prototype]) -> list[Decoration]:
    """Each prototype with these elements, at the sum of their atomic volumes."""
    made = []
    for prototype in known:
        structure = prototype.structure.copy()
        structure.replace_species({old: Element(new) for old, new in zip(STAND_INS, elements, strict=False)})
        structure.scale_lattice(sum(atomic_volume(site.specie.symbol) for site in structure))
        formula = structure.composition.reduced_formula
        made.append(Decoration(formula, prototype.family, elements, structure))
    return made


def compute(path: Path, count: int, seed: int) -> None:
    """Append every formula that is not there yet to the file at `path`."""
    potential = load_potential("m3gnet", settings().m3gnet)
    params = PrototypeParams("decorated", tuple(ELEMENTS), potential="m3gnet", min_polymorphs=FEWEST_POLYMORPHS)
    known = {kind: prototypes(kind) for kind, share in SHARES.items() if share}
    for kind, members in known.items():
        print(kind, len(members), "prototypes of", len({p.family for p in members}), "families", flush=True)
    done = drop_unfinished(path)
    started, fresh, asked = time.monotonic(), 0, formulas(count, seed)
    for number, (kind, elements) in enumerate(asked):
        made = decorations(kind, elements, known[kind])
        if not made or made[0].formula in done:
            continue
        rows = list(polymorphs(made, [potential], params))
        append_formula(path, made[0].formula, rows if len(rows) >= FEWEST_POLYMORPHS else [])
        fresh += 1
        if fresh % 50 == 0:
            left = (time.monotonic() - started) / fresh * (len(asked) - number - 1)
            print(f"{number + 1:,} of {len(asked):,} formulas, {left:.0f} s to go", flush=True)


def write_splits(path: Path, folder: Path, seed: int) -> None:
    """The two files of the rows at `path`, with `split` and `prototype`."""
    rows = [row for line in path.read_text().splitlines() if "finished" not in (row := json.loads(line))]
    times: Counter[str] = Counter()
    for row in rows:
        row["prototype"] = row["auid"].split(":")[0]
        times[row["auid"]] += 1
        row["auid"] += f":{times[row['auid']]}"  # one family may hold a formula twice, elements exchanged
    held = _held_out_families(rows, seed)
    print("families held out:", ", ".join(sorted(held)))
    by_family = np.array([row["prototype"] in held for row in rows])
    for name, part in (("decorated", _by_formula(rows, seed)), ("decorated_families", by_family)):
        lines = [json.dumps(row | {"split": "val" if v else "train"}) for row, v in zip(rows, part, strict=True)]
        unfinished = folder / f"{name}.partial"
        unfinished.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
        unfinished.replace(folder / f"{name}.jsonl.gz")
        formulas_ = Counter(row["pretty_formula"] for row in rows)
        print(
            f"{name}: {len(rows):,} structures of {len(formulas_):,} formulas with {min(formulas_.values())} to "
            f"{max(formulas_.values())} polymorphs, {int(part.sum()):,} held out; "
            f"{len({row['prototype'] for row in rows})} families, "
            f"groups {sorted({row.get('spacegroup_relax', 0) for row in rows})}"
        )


def _by_formula(rows: list[dict[str, object]], seed: int) -> np.ndarray:
    """(M,) is it held out: a tenth of the formulas, elements balanced, as `dataset build --split` does."""
    names = sorted({str(row["pretty_formula"]) for row in rows})
    place = {name: i for i, name in enumerate(names)}
    presence = np.array([[e in Composition(name) for e in ELEMENTS] for name in names])
    index = np.array([place[str(row["pretty_formula"])] for row in rows])
    part: np.ndarray = split_by_formula(index, presence, HELD_OUT, seed).numpy() > 0
    return part


def _held_out_families(rows: list[dict[str, object]], seed: int) -> set[str]:
    """A tenth of the families of each kind of formula, at least one."""
    kinds: dict[tuple[float, ...], set[str]] = {}
    for row in rows:
        amounts = Composition(str(row["pretty_formula"])).reduced_composition.values()
        kinds.setdefault(tuple(sorted(amounts)), set()).add(str(row["prototype"]))
    draw = random.Random(seed)
    held: set[str] = set()
    for _, families in sorted(kinds.items()):
        held |= set(draw.sample(sorted(families), max(1, round(HELD_OUT * len(families)))))
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--formulas", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.folder.mkdir(parents=True, exist_ok=True)
    path = asked.folder / f"decorated-seed{asked.seed}.jsonl"
    compute(path, asked.formulas, asked.seed)
    write_splits(path, asked.folder, asked.seed)


if __name__ == "__main__":
    main()
