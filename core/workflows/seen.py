"""What a model learned from, in a few lists: to warn by when something else is asked of it."""

from __future__ import annotations

from typing import Any

import torch
from pymatgen.core import Element

from core.data.formulas import elements_of, pattern
from core.data.tensors import TRAIN, TensorData
from core.workflows.datasets import load_tensors
from core.workflows.store import store
from db import datasets as rows


def seen_in_dataset(digest: str) -> dict[str, Any]:
    """The same of the dataset of this hash; {} where it is not in the store (any more)."""
    with store().session() as session:
        dataset = rows.find_dataset(session, digest)
    return seen_in(load_tensors(dataset)) if dataset else {}


def seen_in(data: TensorData) -> dict[str, Any]:
    """Elements, atoms in a cell, space groups, stoichiometry patterns and energies of the training part."""
    rows_ = data.part(TRAIN)
    natoms, energy = data.crystals.natoms[rows_], data.crystals.energy[rows_]
    energy = energy[torch.isfinite(energy)]
    formulas = [data.formulas[i] for i in torch.unique(data.formula[rows_]).tolist()]
    elements = {e for f in formulas for e in elements_of(f)}
    return {
        "elements": sorted(elements, key=lambda s: Element(s).Z),
        "natoms": [int(natoms.min()), int(natoms.max())],
        "space_groups": sorted(set(data.crystals.group[rows_].tolist()) - {0}),
        "patterns": sorted({pattern(f) for f in formulas}),
        "energies": [round(float(energy.min()), 4), round(float(energy.max()), 4)] if len(energy) else None,
        "formulas": len(formulas),
        "structures": len(rows_),
    }
