"""Make a dataset where there is none: prototypes decorated with chosen elements, relaxed, with energies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from core.crystals import Crystals, concatenate, from_structures, to_structures
from core.data.prototypes import Decoration, choose_formulas, decorate
from core.data.prototypes import build as build_decoration
from core.data.rows import row_of
from core.data.symmetry import detect_groups
from core.energy.formation import formation_energy, load_references
from core.energy.load import default_choice, load_potential
from core.energy.potential import Potential
from core.energy.relaxation import CONVERGED, relax, relax_volume
from core.evaluation.matching import first_match
from core.settings import settings
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.made import made_before

RELAXING = ("volume", "full", "none")


@dataclass(frozen=True)
class PrototypeParams:
    """What to build.

    elements: symbols; atoms: smallest and largest cell; potential: "m3gnet", "chgnet" or "" for the default, which
    relaxes the structures and gives the dataset its energies; also: potentials that give energies at that geometry
    relax: "volume" (shape and sites stay the prototype's), "full" (cell and positions; those that end as the same
    structure are kept once) or "none"
    max_formulas: draw so many formulas (None: all), always with those of the systems in `whole`
    """

    name: str
    elements: tuple[str, ...]
    atoms: tuple[int, int] = (4, 20)
    potential: str = ""
    also: tuple[str, ...] = ()
    relax: str = "volume"
    max_formulas: int | None = None
    whole: tuple[str, ...] = ()
    min_polymorphs: int = 7
    max_formation: float = 5.0
    seed: int = 0


def build(params: PrototypeParams, context: Context) -> dict[str, Any]:
    """Build the structures (resuming where an earlier run stopped) and import them as the dataset `name`."""
    from core.workflows.datasets import check_new_name
    from core.workflows.imports import ImportParams, import_files

    if (made := made_before(context.job_id)) is not None:
        return made
    check_new_name(params.name)
    path = context.folder / f"{params.name}.jsonl"
    rows = write_rows(params, path, context)
    if not rows:
        raise UserError("No prototype gave a structure: choose more elements or larger cells.")
    main = load_potential(_key(params), settings().m3gnet).name
    how = {"volume": f"volumes relaxed by {main}", "full": f"relaxed by {main}", "none": f"energies by {main}"}
    source = f"AFLOW prototypes decorated with {' '.join(params.elements)}, {how[params.relax]}"
    result = import_files(ImportParams((str(path),), params.name, main, source), context)
    path.unlink()
    return result


def write_rows(params: PrototypeParams, path: Path, context: Context) -> int:
    """Append one line per structure to `path`, formula by formula; formulas already there are left. Returns rows."""
    if params.relax not in RELAXING:
        raise UserError(f"{params.relax!r} is none of {', '.join(RELAXING)}.")
    formulas = _decorated(params.elements, params.atoms, params.min_polymorphs)
    chosen = choose_formulas(list(formulas), params.max_formulas, params.whole, params.seed)
    if not chosen:
        raise UserError(
            f"No formula of {', '.join(params.elements)} has {params.min_polymorphs} distinct prototypes of "
            f"{params.atoms[0]} to {params.atoms[1]} atoms: ask for fewer, or allow larger cells."
        )
    potentials = [load_potential(key, settings().m3gnet, context.device) for key in (_key(params), *params.also)]
    done = drop_unfinished(path)
    rows, started, fresh = sum(done.values()), time.monotonic(), 0
    for number, formula in enumerate(chosen):
        if formula in done:
            continue
        if context.cancelled():
            raise Cancelled
        made = [build_decoration(label, names) for label, names in formulas[formula]]
        lines = list(polymorphs(made, potentials, params))
        append_formula(path, formula, lines)
        rows, fresh = rows + len(lines), fresh + 1
        per_formula = (time.monotonic() - started) / fresh
        left = per_formula * (len(chosen) - number - 1)
        context.progress((number + 1) / len(chosen), f"{formula}: {rows:,} structures so far", left)
    _strip_marks(path)
    return rows


def append_formula(path: Path, formula: str, lines: Sequence[dict[str, Any]]) -> None:
    """The rows of a formula and the mark that it is finished, at the end of the file."""
    with path.open("a") as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        file.write(json.dumps({"finished": formula, "rows": len(lines)}) + "\n")


def polymorphs(
    made: Sequence[Decoration], potentials: list[Potential], params: PrototypeParams
) -> Iterable[dict[str, Any]]:
    """The rows of one formula: relaxed by the first potential, energies by all at that geometry."""
    crystals, energy, keep = _relaxed(
        concatenate([from_structures([d.structure]) for d in made]), potentials[0], params
    )
    if not keep:
        return
    crystals = crystals[keep]
    symprec = 0.1 if params.relax == "full" else 0.01  # relaxed sites are only nearly where symmetry puts them
    crystals = replace(crystals, group=detect_groups(crystals, symprec))
    evaluated = {potentials[0].name: energy[keep]}
    evaluated |= {p.name: p.evaluate(crystals).energy for p in potentials[1:]}
    energies = {
        name: (energy / crystals.natoms, formation_energy(energy, crystals, load_references(name)))
        for name, energy in evaluated.items()
    }
    main = potentials[0].name
    for i, original in enumerate(keep):
        if not abs(float(energies[main][1][i])) < params.max_formation:
            continue
        known = {
            name: {"total": float(total[i]), "formation": float(formation[i])}
            for name, (total, formation) in energies.items()
            if torch.isfinite(formation[i])
        }
        label = f"{made[original].prototype}:{'-'.join(made[original].elements)}"
        yield row_of(crystals, i, label, known, main, digits=6)


def _relaxed(
    crystals: Crystals, potential: Potential, params: PrototypeParams
) -> tuple[Crystals, torch.Tensor, list[int]]:
    """(crystals, (B,) eV per crystal, which are good and distinct)."""
    if params.relax == "full":
        settled, _ = relax_volume(crystals, potential)  # a good volume first: far fewer steps
        done = relax(settled, potential)
        good = [i for i, status in enumerate(done.status) if status == CONVERGED]
        return done.crystals, done.energy_after, _distinct(done.crystals, done.energy_after, good)
    if params.relax == "volume":
        crystals, found = relax_volume(crystals, potential)
    else:
        found = potential.evaluate(crystals)
    return crystals, found.energy, [i for i, problem in enumerate(found.problem) if not problem]


def _distinct(crystals: Crystals, energy: torch.Tensor, good: list[int]) -> list[int]:
    """Of the good ones those that are no structure lower in energy over again, in their order."""
    structures = to_structures(crystals)
    kept: list[int] = []
    for i in sorted(good, key=lambda i: float(energy[i] / crystals.natoms[i])):
        if first_match(structures[i], [structures[k] for k in kept]) is None:
            kept.append(i)
    return sorted(kept)


def plan_prototypes(elements: tuple[str, ...], atoms: tuple[int, int], min_polymorphs: int) -> tuple[int, int]:
    """(formulas, structures) that decorating would give, before relaxation. Raises UserError."""
    formulas = _decorated(elements, atoms, min_polymorphs)
    return len(formulas), sum(map(len, formulas.values()))


@lru_cache(maxsize=64)
def _decorated(
    elements: tuple[str, ...], atoms: tuple[int, int], min_polymorphs: int
) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    try:
        return decorate(elements, atoms, min_polymorphs)
    except ValueError as error:
        raise UserError(str(error)) from error


def _key(params: PrototypeParams) -> str:
    return params.potential or default_choice(settings().m3gnet).key


def drop_unfinished(path: Path) -> dict[str, int]:
    """Cut a file that a killed run left after its last finished formula; returns finished formula -> rows."""
    done: dict[str, int] = {}
    if not path.is_file():
        return done
    kept: list[str] = []
    pending: list[str] = []
    for line in path.read_text().splitlines(keepends=True):
        pending.append(line)
        if line.startswith('{"finished"') and line.endswith("\n"):
            mark = json.loads(line)
            done[mark["finished"]] = mark["rows"]
            kept += pending
            pending = []
    path.write_text("".join(kept))
    return done


def _strip_marks(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines(keepends=True) if not line.startswith('{"finished"')]
    path.write_text("".join(lines))


class PrintedProgress:
    """A context that prints: for runs outside a job."""

    job_id = 0
    device = "cpu"

    def __init__(self, folder: Path, write: Callable[[str], None] = print) -> None:
        self.folder = folder
        self._write = write

    def progress(self, fraction: float | None, message: str, eta_s: float | None = None) -> None:
        self._write(f"{100 * (fraction or 0):5.1f} %  {message}  {eta_s or 0:.0f} s to go")

    def metrics(self, step: int, **values: float) -> None:
        self._write(f"step {step} {values}")

    def cancelled(self) -> bool:
        return False


STARTER = PrototypeParams(
    name="starter",
    elements=("B", "C", "Si", "Ti", "V", "Mo", "Ta", "W"),
    potential="m3gnet",
    also=("chgnet",),
    max_formulas=180,
    whole=("B-Ta-W",),
)


def main() -> None:
    """`python -m core.workflows.prototypes FILE.jsonl`: the rows of the starter dataset, as they ship."""
    import sys

    torch.set_num_threads(1)
    path = Path(sys.argv[1])
    print(asdict(STARTER), write_rows(STARTER, path, PrintedProgress(path.parent)))


if __name__ == "__main__":
    main()
