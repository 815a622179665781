"""Relaxations in batches beside ASE's, one by one: `python -m benchmarks.relax_structures [STRUCTURES]`.

Takes real structures of mp_polymorphs under `SUBHULL_SHARED` of up to 12 atoms, drawn by a fixed seed, and relaxes them
fully: with ASE's FIRE and Fréchet cell filter one after the other, in batches in one process, and in batches in two.
The potential is the same, with one thread for each process. Prints structures per minute, and where the final energies
differ by more than 2 meV/atom; those are relaxed again to a tenth of the force, which tells a flat minimum from another
one. `--shake 0.2` moves atoms by so many Å and strains cells by a tenth of it, as generated crystals are off their
minima; `--device cuda:0` relaxes there, too.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from torch import Tensor

from core.crystals import Crystals, to_structures, unpack_cells, wrap
from core.data.readers.parsing import parse_rows
from core.data.readers.sources import raw_rows
from core.energy.ase_calculator import OneByOne
from core.energy.load import load_potential
from core.energy.parallel import relax_on_cores
from core.energy.potential import Potential
from core.energy.relaxation import RelaxationConfig, relax
from core.settings import settings

TOLERANCE = 0.002  # eV/atom


def real_crystals(path: Path, count: int, potential: Potential, atoms: int, seed: int) -> Crystals:
    """Structures of up to so many atoms, of elements that the potential knows."""
    records = [r for taken, _ in parse_rows(raw_rows(path), "", processes=1) for r in taken if r.natoms <= atoms]
    order = np.random.default_rng(seed).permutation(len(records))[: 2 * count]
    crystals = unpack_cells([records[i].cell for i in order])
    known = [i for i, problem in enumerate(potential.evaluate(crystals).problem) if not problem]
    return crystals[known[:count]].trim()


def shaken(crystals: Crystals, size: float, seed: int) -> Crystals:
    """Atoms moved by `size` Å (RMS) and cells strained by a tenth of it."""
    generator = torch.Generator().manual_seed(seed)
    moved = torch.randn(*crystals.frac.shape, generator=generator, dtype=torch.float64) * size / 3**0.5
    strain = torch.eye(3) + torch.randn(len(crystals), 3, 3, generator=generator, dtype=torch.float64) * size / 10
    frac = wrap(crystals.frac + moved @ torch.linalg.inv(crystals.lattice)) * crystals.mask[:, :, None]
    return replace(crystals, frac=frac, lattice=crystals.lattice @ strain)


def one_by_one(structures: list[Structure], potential: Potential, fmax: float, steps: int) -> Tensor:
    """(B,) eV/atom at the end of ASE's relaxations."""
    energies = []
    for structure in structures:
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.calc = OneByOne(potential)
        FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=fmax, steps=steps)
        energies.append(atoms.get_potential_energy() / len(atoms))
    return torch.tensor(energies, dtype=torch.float64)


def compare(crystals: Crystals, expected: Tensor, found: Tensor, potential: Potential, fmax: float) -> None:
    """Where the final energies differ, and whether they still do when both go on to a tenth of the force."""
    difference = (found / crystals.natoms - expected).abs()
    worse = torch.nonzero(~(difference < TOLERANCE)).flatten().tolist()
    print(
        f"  {len(crystals) - len(worse)} of {len(crystals)} final energies within {1000 * TOLERANCE:.0f} meV/atom, "
        f"half of them within {1000 * float(difference.median()):.3f}"
    )
    for i in worse:
        part, config = crystals[[i]].trim(), RelaxationConfig(fmax=fmax / 10, steps=2000)
        tight = float(relax(part, potential, config).energy_after[0] / part.natoms[0])
        ase = float(one_by_one(to_structures(part), potential, fmax / 10, 2000)[0])
        print(
            f"    {crystals.formula(i)}: {1000 * float(found[i] / crystals.natoms[i] - expected[i]):+.1f} meV/atom; "
            f"to {fmax / 10:g} eV/Å {1000 * (tight - ase):+.1f}, ASE goes {1000 * (ase - float(expected[i])):+.1f} on"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structures", nargs="?", type=int, default=100)
    parser.add_argument("--potential", choices=["m3gnet", "chgnet"], default="m3gnet")
    parser.add_argument("--atoms", type=int, default=12)
    parser.add_argument("--fmax", type=float, default=0.05)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shake", type=float, default=0.0)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    potential = load_potential(asked.potential, settings().m3gnet)
    path = Path(os.environ.get("SUBHULL_SHARED", "../shared")) / "data" / "mp_polymorphs.jsonl.gz"
    crystals = real_crystals(path, asked.structures, potential, asked.atoms, asked.seed)
    if asked.shake:
        crystals = shaken(crystals, asked.shake, asked.seed)
    count, config = len(crystals), RelaxationConfig(fmax=asked.fmax, steps=asked.steps)
    print(f"{count} structures, {potential.name}, fmax {asked.fmax:g} eV/Å, load {os.getloadavg()[0]:.1f}", flush=True)
    started, cpu = time.perf_counter(), time.process_time()
    expected = one_by_one(to_structures(crystals), potential, asked.fmax, asked.steps)
    plain, plain_cpu = time.perf_counter() - started, time.process_time() - cpu
    print(
        f"  ASE, one by one: {plain:.0f} s ({plain_cpu:.0f} s of processor), {60 * count / plain:.0f} a minute",
        flush=True,
    )

    def report(name: str, took: float, more: str = "") -> None:
        print(f"  {name}: {took:.0f} s, {60 * count / took:.0f} a minute, {plain / took:.1f} times{more}", flush=True)

    started, cpu = time.perf_counter(), time.process_time()
    batched = relax(crystals, potential, config)
    took, took_cpu = time.perf_counter() - started, time.process_time() - cpu
    report("in batches", took, f" ({took_cpu:.0f} s of processor, {plain_cpu / took_cpu:.1f} times)")
    started = time.perf_counter()
    relax_on_cores(crystals[:2], asked.potential, settings().m3gnet, RelaxationConfig(steps=0), 2)
    start, started = time.perf_counter() - started, time.perf_counter()
    relax_on_cores(crystals, asked.potential, settings().m3gnet, config, 2)
    took = time.perf_counter() - started
    report("in batches, two processes", took - start, f" without the {start:.0f} s that they take to start")
    if asked.device != "cpu":
        there = load_potential(asked.potential, settings().m3gnet, asked.device)
        relax(crystals[:8], there, RelaxationConfig(steps=5))
        started = time.perf_counter()
        relax(crystals, there, config)
        report(f"in batches, {asked.device}", time.perf_counter() - started)
    compare(crystals, expected, batched.energy_after, potential, asked.fmax)
    print(f"  statuses: { {s: batched.status.count(s) for s in sorted(set(batched.status))} }")


if __name__ == "__main__":
    main()
