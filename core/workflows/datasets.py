"""Datasets: recipes over imports, immutable, named by a hash of data and recipe."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.data.arrays import SPLITS, StructureArrays
from core.data.duplicates import find_duplicates
from core.data.recipe import Columns, Recipe, Stage, apply_recipe, side_by_side
from core.data.rows import symbol
from core.data.splits import split_by_formula
from core.data.tensors import TRAIN, VALIDATION, CrystalView, TensorData, read_tensors, write_membership
from core.workflows.acting import EDITOR, acting, require, require_owner
from core.workflows.audit import record
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.imports import drop_import, open_import
from core.workflows.made import keep_made, made_before
from core.workflows.store import folder, store
from db import datasets as dataset_rows
from db import structures as rows
from db.tables import Dataset, Import

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,59}")


@dataclass(frozen=True)
class BuildParams(Recipe):
    """A recipe with the imports it is applied to (names of imports or of datasets) and the name of what it makes."""

    imports: tuple[str, ...] = ()
    name: str = ""


def build_dataset(params: BuildParams, context: Context) -> dict[str, Any]:
    """Make a dataset of imports by a recipe. Returns structures, formulas, stages, dataset, dataset_id.

    Raises UserError where nothing remains, a name is taken or an import is unknown.
    """
    require(EDITOR)
    if (known := made_before(context.job_id)) is not None:
        return known
    check_new_name(params.name)
    imports = find_imports(params.imports)
    columns = columns_of([i.id for i in imports])
    recipe = with_method(recipe_of(params), columns)
    keep, stages = filtered(columns, recipe)
    duplicates = _duplicates(columns, keep, recipe, context)
    if not recipe.duplicates:
        keep[duplicates] = False
        stages = [*stages, *_after_duplicates(columns, keep, recipe)]
    if not keep.any():
        raise UserError("No structure passes these filters: " + first_empty(stages))
    made = _record(params.name, imports, columns, keep, recipe, stages)
    with store().session() as session:
        dataset_id = dataset_rows.add_dataset(session, [i.id for i in imports], **made, owner_id=acting().id)
        record(session, "build", "dataset", params.name)
        summary = made["summary"]
        result = {
            "structures": summary["structures"],
            "formulas": summary["formulas"],
            "stages": summary["stages"],
            "dataset": params.name,
            "dataset_id": dataset_id,
            "hash": made["hash"],
        }
        keep_made(session, context.job_id, result)
    return result


def dataset_of_all(name: str, import_id: int, digest: str, method: str, skipped: dict[str, int]) -> dict[str, Any]:
    """The columns of a dataset of a whole import that is not shown yet; its file is written."""
    columns = columns_of([import_id])
    methods = columns.methods
    main = method if method in methods else max(methods, key=methods.__getitem__, default="")
    recipe = Recipe(methods=(main,) if main else ())
    fresh = Import(id=import_id, name=name, sha256=digest, notes={"skipped": skipped})
    return _record(name, [fresh], columns, np.ones(len(columns), dtype=bool), recipe, [])


def recipe_of(values: Recipe | dict[str, Any]) -> Recipe:
    """The recipe in build parameters or in what the store keeps; lists become tuples."""
    known = asdict(values) if isinstance(values, Recipe) else values
    names = {f.name for f in fields(Recipe)}
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items() if k in names}
    return Recipe(**plain)


def with_method(recipe: Recipe, columns: Columns) -> Recipe:
    """The recipe with its energy method filled in: the one that most structures have. Raises UserError."""
    known = columns.methods
    unknown = [m for m in recipe.methods if m not in known]
    if unknown:
        raise UserError(f"No structure has an energy by {unknown[0]!r}: the methods are {', '.join(known) or 'none'}.")
    if recipe.methods or not known:
        return recipe
    return replace(recipe, methods=(max(known, key=known.__getitem__),))


def filtered(columns: Columns, recipe: Recipe) -> tuple[np.ndarray, list[Stage]]:
    """Which structures stay and what each filter leaves. Raises UserError."""
    try:
        return apply_recipe(columns, recipe)
    except ValueError as error:
        raise UserError(str(error)) from error


def first_empty(stages: Sequence[Stage]) -> str:
    """Which filter leaves nothing, in words."""
    from core.data.recipe import WORDS

    for stage in stages:
        if not stage.structures:
            return f"{WORDS.get(stage.name, stage.name)} leaves none."
    return "the last filter leaves none."


@lru_cache(maxsize=4)
def _columns(arrays: tuple[StructureArrays, ...]) -> Columns:
    return side_by_side(arrays)


def columns_of(import_ids: Sequence[int]) -> Columns:
    """Imports side by side, kept in this process for the next question."""
    return _columns(tuple(open_import(i) for i in import_ids))


def find_imports(names: Sequence[str]) -> list[Import]:
    """The imports of these names; a dataset's name gives its imports. Raises UserError."""
    found: dict[int, Import] = {}
    with store().session() as session:
        known = rows.list_imports(session)
        by_name = {i.name: i for i in reversed(known)}
        by_id = {i.id: i for i in known}
        for name in names:
            dataset = dataset_rows.find_dataset(session, name)
            ids = dataset_rows.imports_of(session, dataset.id) if dataset else []
            if not ids and name not in by_name:
                raise UserError(f"There is no import or dataset {name!r}.")
            for i in ids or [by_name[name].id]:
                found[i] = by_id[i]
    if not found:
        raise UserError("Name at least one import.")
    return [found[i] for i in sorted(found)]


def _duplicates(columns: Columns, keep: np.ndarray, recipe: Recipe, context: Context) -> np.ndarray:
    if recipe.duplicates:
        return np.zeros(0, dtype=np.int64)
    total, done, twice, started = int(keep.sum()), 0, [np.zeros(0, dtype=np.int64)], time.monotonic()
    for count, found in find_duplicates(columns, keep, columns.energy(recipe.methods)):
        done += count
        twice.append(found)
        if context.cancelled():
            raise Cancelled
        eta = (time.monotonic() - started) * (total - done) / max(1, done)
        context.progress(done / total, f"{sum(map(len, twice)):,} duplicates among {done:,} structures", eta)
    return np.concatenate(twice)


def _after_duplicates(columns: Columns, keep: np.ndarray, recipe: Recipe) -> list[Stage]:
    """Formulas that have become too small go, too."""
    from core.data.recipe import stage_of

    stages = [stage_of(columns, keep, "duplicates")]
    if recipe.min_polymorphs > 1:
        sizes = np.bincount(columns.formula[keep], minlength=len(columns.formulas))
        keep &= (sizes >= recipe.min_polymorphs)[columns.formula]
        stages.append(stage_of(columns, keep, "polymorphs again"))
    return stages


def _record(
    name: str, imports: Sequence[Import], columns: Columns, keep: np.ndarray, recipe: Recipe, stages: Sequence[Stage]
) -> dict[str, Any]:
    """The row of a dataset, after its membership file is written."""
    kept = {"imports": [i.sha256 for i in imports], **asdict(recipe)}
    usual = asdict(Recipe())  # left out of the hash, so that a filter added later changes no name
    named = {k: v for k, v in kept.items() if k not in usual or v != usual[k]}
    content = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
    data = assemble(columns, keep, recipe, name, content)
    own = recipe.own_split and has_own_split(columns.split[keep])
    write_membership(tensor_path(content), data)
    skipped: Counter[str] = Counter()
    for i in imports:
        skipped.update(i.notes.get("skipped", {}))
    summary = summarise(data) | {
        "methods": columns.methods,
        "skipped": dict(skipped),
        "stages": [asdict(s) for s in stages],
        "split": "files" if own else "recipe",
    }
    return {"name": name, "hash": content, "method": recipe.method, "recipe": kept, "summary": summary}


def assemble(columns: Columns, keep: np.ndarray, recipe: Recipe, name: str, content: str) -> TensorData:
    """The kept structures as a dataset, split by formula; a split that every row's file names is honoured."""
    chosen = np.flatnonzero(keep)
    used, formula = np.unique(columns.formula[chosen], return_inverse=True)
    given = columns.split[chosen]
    if recipe.own_split and has_own_split(given):
        split = torch.from_numpy(np.where(given == SPLITS["train"], TRAIN, VALIDATION).astype(np.int8))
    else:
        split = split_by_formula(formula, columns.presence[used], recipe.split, recipe.seed)
    crystals = CrystalView(
        columns.arrays,
        torch.from_numpy(columns.part[chosen]),
        torch.from_numpy(columns.row[chosen]),
        torch.from_numpy(columns.natoms[chosen]),
        torch.from_numpy(columns.group[chosen].astype(np.int64)),
        torch.from_numpy(columns.energy(recipe.methods)[chosen].astype(np.float32)),
    )
    formulas = [columns.formulas[i] for i in used.tolist()]
    ids = torch.from_numpy(columns.ids[chosen])
    return TensorData(
        crystals,
        ids,
        torch.from_numpy(formula),
        split,
        formulas,
        name,
        recipe.method,
        content,
        asdict(recipe),
    )


def has_own_split(given: np.ndarray) -> bool:
    """Does every row of the files name its part?"""
    return bool(len(given)) and bool((given > 0).all())


def summarise(data: TensorData) -> dict[str, Any]:
    """What a dataset holds, counted once: structures, formulas, elements, space groups, cell sizes, energies."""
    elements: np.ndarray = np.zeros(119, dtype=np.int64)
    for part in torch.arange(len(data)).split(50_000):
        numbers = data.crystals[part].numbers.numpy()
        present = np.zeros((len(numbers), 119), dtype=bool)
        np.put_along_axis(present, numbers, True, axis=1)
        elements += present.sum(0)
    groups, group_counts = np.unique(data.crystals.group.numpy(), return_counts=True)
    sizes = torch.bincount(data.formula)
    energy = data.crystals.energy[torch.isfinite(data.crystals.energy)]
    return {
        "structures": len(data),
        "formulas": len(data.formulas),
        "groups_of_7": int((sizes >= 7).sum()),
        "elements": {symbol(z): int(n) for z, n in enumerate(elements.tolist()) if z and n},
        "space_groups": {str(int(g)): int(n) for g, n in zip(groups, group_counts, strict=True)},
        "natoms": [int(data.crystals.natoms.min()), int(data.crystals.natoms.max())],
        "energies": len(energy),
        "energy_range": [float(energy.min()), float(energy.max())] if len(energy) else None,
        "validation": int((data.split == VALIDATION).sum()),
        "formulas_in_both": int(len(data.formulas) - _formulas_of_one_part(data)),
    }


def _formulas_of_one_part(data: TensorData) -> int:
    """How many formulas have all their structures in one part."""
    held = torch.bincount(data.formula, weights=(data.split == VALIDATION).double(), minlength=len(data.formulas))
    total = torch.bincount(data.formula, minlength=len(data.formulas))
    return int(((held == 0) | (held == total)).sum())


def check_name(name: str) -> str:
    """The name, if it can be one. Raises UserError."""
    if not _NAME.fullmatch(name):
        raise UserError("A name has 1 to 60 letters, digits, spaces or . _ + -, and begins with a letter or digit.")
    return name


def check_new_name(name: str) -> str:
    """The name, if a dataset can still be called that. Raises UserError."""
    check_name(name)
    alike = [d.name for d in list_datasets() if d.name.lower() == name.lower()]
    if alike:
        raise UserError(f"There is a dataset {alike[0]!r} already: choose another name.")
    return name


def tensor_path(content: str) -> Path:
    return folder("datasets") / f"{content}.safetensors"


def get_dataset(name: str) -> Dataset:
    """By name or hash. Raises UserError."""
    with store().session() as session:
        found = dataset_rows.find_dataset(session, name)
    if found is None:
        raise UserError(f"There is no dataset {name!r}.")
    return found


def load_tensors(dataset: Dataset) -> TensorData:
    """Its structures, memory-mapped and kept in this process. Raises UserError where its file is gone."""
    path = tensor_path(dataset.hash)
    try:
        return _load(path, path.stat().st_mtime_ns, dataset.id)
    except OSError as error:
        raise UserError(
            f"The tensor file {path.name} of this dataset is gone: build the dataset again from its imports."
        ) from error
    except ValueError as error:
        raise UserError(str(error)) from error


@lru_cache(maxsize=8)
def _load(path: Path, _: int, dataset_id: int) -> TensorData:
    with store().session() as session:
        import_ids = sorted(dataset_rows.imports_of(session, dataset_id))
    return read_tensors(path, [open_import(i) for i in import_ids])


def imports_of(dataset: Dataset) -> list[Import]:
    """The imports that a dataset is made of."""
    with store().session() as session:
        found = [rows.get_import(session, i) for i in sorted(dataset_rows.imports_of(session, dataset.id))]
    return [i for i in found if i is not None]


def list_imports() -> list[Import]:
    """Those that are complete, newest first."""
    with store().session() as session:
        return rows.list_imports(session)


def list_datasets() -> list[Dataset]:
    """Newest first."""
    with store().session() as session:
        return dataset_rows.list_datasets(session)


def delete_dataset(name: str) -> None:
    """Remove a dataset, and imports that no other dataset shares. Refused while models were trained on it."""
    dataset = get_dataset(name)
    require_owner(f"The dataset {name}", dataset.owner_id)
    with store().writing() as session:
        users = [m.name for m in dataset_rows.list_models(session) if m.card.get("dataset_hash") == dataset.hash]
        twins = dataset_rows.datasets_with_hash(session, dataset.hash) - 1
        if users and not twins:
            raise UserError(f"{name} is what {', '.join(users)} learned from: delete the model first.")
        import_ids = dataset_rows.imports_of(session, dataset.id)
        dataset_rows.drop_dataset(session, dataset.id)
        record(session, "delete", "dataset", dataset.name)
        unused = [i for i in import_ids if not dataset_rows.datasets_of_import(session, i)]
    for import_id in unused:
        drop_import(import_id)
    if not twins:
        tensor_path(dataset.hash).unlink(missing_ok=True)
