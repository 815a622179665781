"""README.txt of a bundle: what each file and column is, where every energy comes from, what may be done with it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = {
    "id": "run and number in it; with the run's seed it names the sample",
    "formula": "content of the cell",
    "natoms": "atoms in the cell",
    "group_asked": "space group that was asked for, 1-230; empty: any",
    "group_found": "space group of the crystal in `file`, as spglib finds it",
    "symprec": "tolerance of group_found, Å",
    "energy_asked": "formation energy that was asked for (of a modification: its change), eV/atom, on the scale of "
    "the energies that the model learned from",
    "energy": "formation energy of the crystal in `file` by energy_method, eV/atom",
    "energy_method": "the method of energy, energy_generated and total_energy",
    "e_above_hull": "energy above the hull named in `hull`, eV/atom; negative: below it; relaxed crystals only",
    "hull": "chemical system, method and name of that hull: each candidate has the hull of its own elements",
    "min_distance": "shortest distance between two atoms of the crystal in `file`, Å",
    "valid": "did it pass the checks (thresholds: manifest.json, judging)?",
    "novel": "as drawn, not as relaxed: is it new against every dataset that it was compared with? Empty: not compared",
    "unique": "as drawn, not as relaxed: the first of its kind in its run? Empty: not compared",
    "file": "its CIF, relaxed where it was relaxed; empty where its cell is not finite",
    "file_generated": "the CIF of the crystal as the model drew it",
    "model": "the model that drew it",
    "relaxation": "how the relaxation ended; `energy as drawn`: evaluated, not relaxed",
    "relax_steps": "steps of the relaxation",
    "max_force": "largest force left, eV/Å",
    "energy_generated": "formation energy of the crystal as drawn, by energy_method, eV/atom",
    "total_energy": "total energy of the crystal in `file` by energy_method, eV/atom",
    "problem": "why it is not valid",
    "groups": "space group as drawn by tolerance (Å: group)",
    "symmetrised": "the farthest a site was moved onto the group asked for, Å; empty: as drawn",
    "charge_balanced": "do oxidation states balance (SMACT)? Empty: it cannot say",
    "novelty": "new or known against each dataset, by name",
    "starred": "marked by you",
    "note": "written by you",
    "displacement": "of a modification: root mean square shift of the sites from the start, Å",
    "volume_change": "of a modification: change of the volume, as a share",
    "same_as_start": "of a modification: does the matcher find the start again?",
    "series": "the ladder of an experiment that asked for it",
}
POTENTIALS = {
    "M3GNet": "M3GNet (machine-learned, via matgl, BSD-3): Chen and Ong, Nat. Comput. Sci. 2, 718 (2022). Trained on "
    "relaxations of the Materials Project (CC BY 4.0): Jain et al., APL Mater. 1, 011002 (2013).",
    "CHGNet": "CHGNet (machine-learned, modified BSD): Deng et al., Nat. Mach. Intell. 5, 1031 (2023). Trained on "
    "trajectories of the Materials Project (CC BY 4.0). Its energies hold the Materials Project's corrections.",
    "VASP": "VASP: cite it as its licence asks, and the pseudopotentials.",
    "AFLOW": "AFLOW: Curtarolo et al., Comp. Mat. Sci. 58, 227 (2012). Free for scientific, academic and "
    "non-commercial use.",
}
_HEAD = """\
CANDIDATE CRYSTALS
Made with {made_by}.

FILES
  cifs/*.cif          one or two for each candidate (in a folder written by the command line they lie beside this
                      file): *_generated.cif as the model drew it, *_relaxed.cif as the potential relaxed it; one name
                      without either where it was not relaxed. P1, every atom listed. Data items _subhull_... carry
                      id, energies and hull; an energy there is that of the crystal in the same file.
  candidates.csv      one line per candidate, UTF-8, decimal points; columns below. A text that a spreadsheet would
                      run as a formula has an apostrophe before it.
  candidates.extxyz   the crystals of the column `file`, for ASE and the like. `energy` is the total energy of the cell
                      in eV; formation_energy_per_atom and e_above_hull are in eV/atom, by energy_method.
  manifest.json       everything that made this: runs with their conditions and seeds, hashes of models and data,
                      potentials, relaxations, hulls, thresholds, versions, and the command that repeats each run.
  README.txt          this file.

HOW TO READ IT
  Python    pandas.read_csv("candidates.csv"); ase.io.read("candidates.extxyz", ":");
            pymatgen.core.Structure.from_file("cifs/...")
  Viewers   VESTA, Jmol, Mercury open the CIFs.
  Subhull   ./run cli dataset import candidates.zip --name mine      (each candidate once, with its energies)

UNITS
  Lengths Å, angles degrees, energies eV/atom, forces eV/Å, volumes Å³.

COLUMNS OF candidates.csv (an empty cell is unknown or does not apply)
"""
_NOT = """\
Not results of an experiment, and not of density-functional theory unless the method says so: a generative model drew
these crystals, and a potential estimated their energies. The energies are those of static crystals at 0 K, without
zero-point motion, vibrations, entropy or magnetic order. A crystal below the hull by such a potential is a reason to
compute it, no discovery; nothing here says that it can be made, that it is stable against vibrations, or that it is
safe. "New" means new against the datasets named, and nothing else."""


def readme_text(manifest: Mapping[str, Any]) -> str:
    """The README of a bundle with this manifest; what the manifest does not hold is not spoken of."""
    text = _HEAD.format(made_by=manifest.get("made_by", "Subhull"))
    text += "".join(_entry(name, about) for name, about in COLUMNS.items())
    text += _section("ENERGIES", _methods(manifest))
    text += _section("TO MAKE IT AGAIN", _commands(manifest))
    text += _section("LICENCES AND CITATIONS", _citations(manifest))
    return text + _section("WHAT IT IS NOT", [_NOT.replace("\n", " ")])


def _methods(manifest: Mapping[str, Any]) -> list[str]:
    """The method of every kind of energy here."""
    found = [
        f"{method}: formation energies are total energies less those of the elements by the same method"
        f"{_references(known)}. Energies of different methods are not compared: each has hulls of its own."
        for method, known in _mapping(manifest, "potentials").items()
    ]
    for hull in manifest.get("hulls") or []:
        found.append(f"Hull {_hull(hull)}: {hull.get('entries', 0)} phases. {hull.get('source') or ''}".strip())
    return found or ["No candidate here has an energy."]


def _references(known: Any) -> str:
    digest = known.get("references_sha256") if isinstance(known, Mapping) else ""
    return f" (reference energies: sha256 {digest[:12]})" if digest else ""


def _commands(manifest: Mapping[str, Any]) -> list[str]:
    commands = [str(run["command"]) for run in _mapping(manifest, "runs").values() if "command" in run]
    if not commands:
        return ["manifest.json holds what it was made with."]
    same = "With the same versions and device this gives the same crystals bit for bit; with others, like ones."
    return [*commands, same]


def _citations(manifest: Mapping[str, Any]) -> list[str]:
    """What the potentials, datasets and hulls ask for."""
    methods = {*_mapping(manifest, "potentials"), *(str(h.get("method")) for h in manifest.get("hulls") or [])}
    lines = [text for key, text in POTENTIALS.items() if any(m.startswith(key) for m in methods)]
    for name, known in _mapping(manifest, "datasets").items():
        lines += [f"Dataset {name}: {said}" for said in known.get("terms") or []]
    for hull in manifest.get("hulls") or []:
        said = " ".join(str(hull[k]) for k in ("terms", "citation") if hull.get(k))
        lines += [f"Hull {_hull(hull)}: {said}"] if said else []
    return [*dict.fromkeys(lines), "The CIFs and tables themselves may be used freely as far as these allow."]


def _hull(hull: Mapping[str, Any]) -> str:
    return f"{hull.get('chemical_system')} by {hull.get('method')} ({hull.get('name')})"


def _mapping(manifest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = manifest.get(key)
    return found if isinstance(found, Mapping) else {}


def _entry(name: str, about: str) -> str:
    lines = textwrap.wrap(about, 98)
    return "".join(f"  {name if not i else '':<18}{line}\n" for i, line in enumerate(lines))


def _section(title: str, paragraphs: Iterable[str]) -> str:
    wrapped = [
        textwrap.fill(" ".join(p.split()), 116, initial_indent="  ", subsequent_indent="    ") for p in paragraphs
    ]
    return f"\n{title}\n" + "\n".join(wrapped) + "\n"
