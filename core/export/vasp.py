"""Crystals as input of VASP: one folder each with POSCAR, INCAR, KPOINTS, POTCAR's names and a job script."""

from __future__ import annotations

import io
import json
import re
import stat
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymatgen.core import Element, Structure
from pymatgen.io.vasp import Potcar
from pymatgen.io.vasp.sets import BadInputSetWarning, MPRelaxSet, MVLRelax52Set, VaspInputSet

TAG = re.compile(r"subhull-(\d{1,12})-(\d{1,12})-([0-9a-f]{8})", re.IGNORECASE)
_MAGNETIC = frozenset({"V", "Cr", "Mn", "Fe", "Co", "Ni"})  # beside the lanthanides and actinides
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a zip, so that the same candidates give the same bytes
_RUNNABLE = (stat.S_IFREG | 0o755) << 16


class PaperRelaxSet(VaspInputSet):
    """The paper's relaxation: 500 eV, EDIFF 1e-5, EDIFFG -1e-2, recommended pseudopotentials.

    The paper says no more; the rest is chosen to be safe for metals and insulators alike. Potentials are those that
    VASP recommends (pymatgen's MVLRelax52Set), W_sv where the 54 release has no W_pv.
    """

    CONFIG: Mapping[str, Any] = {
        "INCAR": {
            "PREC": "Accurate", "ENCUT": 500, "EDIFF": 1e-5, "EDIFFG": -1e-2, "ALGO": "Normal", "NELM": 120,
            "IBRION": 2, "ISIF": 3, "NSW": 200, "ISMEAR": 0, "SIGMA": 0.05, "LREAL": False, "LASPH": True,
            "LWAVE": False, "LCHARG": False,
        },
        "KPOINTS": {"reciprocal_density": 64},
        "POTCAR_FUNCTIONAL": "PBE_54",
        "POTCAR": {**MVLRelax52Set.CONFIG["POTCAR"], "W": "W_sv"},
    }  # fmt: skip


SETS: dict[str, tuple[type[VaspInputSet], str]] = {
    "paper": (PaperRelaxSet, "the paper's: 500 eV, EDIFF 1e-5, EDIFFG -1e-2"),
    "mp": (MPRelaxSet, "pymatgen's MPRelaxSet: the Materials Project's, 520 eV, +U in oxides and fluorides"),
}


@dataclass(frozen=True)
class VaspItem:
    """A crystal to compute. tag: as `tag_of` gives it; about: of the manifest, what the crystal is."""

    tag: str
    structure: Structure
    about: Mapping[str, Any] = field(default_factory=dict)


def tag_of(job_id: int, index: int, fingerprint: str) -> str:
    """The name that goes with a candidate through VASP and back; fingerprint: 8 hexadecimal digits of its crystal."""
    return f"subhull-{job_id}-{index}-{fingerprint}"


def find_tag(text: str) -> tuple[int, int, str] | None:
    """(run, number, fingerprint) of the first tag in a text, or None."""
    found = TAG.search(text)
    return (int(found[1]), int(found[2]), found[3].lower()) if found else None


def inputs_of(item: VaspItem, name: str = "paper") -> VaspInputSet:
    """pymatgen's input set of a crystal by one of `SETS`, its SYSTEM the tag. Raises ValueError for another name."""
    if name not in SETS:
        raise ValueError(f"There is no set {name!r} of VASP settings: choose {' or '.join(SETS)}.")
    settings: dict[str, Any] = {"SYSTEM": item.tag}
    if name == "paper" and any(_is_magnetic(e) for e in item.structure.composition.elements):
        settings["ISPIN"] = 2  # the start is VASP's own: 1 μB on every site
    return SETS[name][0](item.structure, user_incar_settings=settings)


def vasp_files(
    items: Sequence[VaspItem], manifest: Mapping[str, Any], name: str = "paper", potcars: bool = True
) -> Iterable[tuple[str, str]]:
    """(name, text) of every file: a folder per crystal, README.txt, manifest.json.

    potcars: write the real POTCAR too where pymatgen is set up for it (PMG_VASP_PSP_DIR). Names hold nothing but
    letters, digits, dots and dashes.
    """
    listed = []
    for item in items:
        folder = f"{item.tag}_{item.structure.composition.reduced_formula}"
        folder = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder)[:120]
        files, about = _folder(item, name, potcars)
        for file, text in files.items():
            yield f"{folder}/{file}", text
        listed.append({"folder": folder, "tag": item.tag, **item.about, **about})
    whole = {**manifest, "set": name, "settings": SETS[name][1], "candidates": listed}
    yield "README.txt", _readme(name, listed)
    yield "manifest.json", json.dumps(whole, indent=1, default=str) + "\n"


def vasp_zip(files: Iterable[tuple[str, str]]) -> bytes:
    """The files as one zip; job scripts can be run."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = _RUNNABLE if name.endswith(".sh") else (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, text)
    return buffer.getvalue()


def vasp_folder(files: Iterable[tuple[str, str]], folder: Path) -> None:
    """The files under a folder. Raises OSError."""
    for name, text in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if name.endswith(".sh"):
            path.chmod(0o755)


def has_potcars() -> bool:
    """Is the user's pymatgen set up for real POTCARs?"""
    from pymatgen.core import SETTINGS

    folder = SETTINGS.get("PMG_VASP_PSP_DIR")
    return bool(folder) and Path(str(folder)).is_dir()


def _folder(item: VaspItem, name: str, potcars: bool) -> tuple[dict[str, str], dict[str, Any]]:
    """The files of one crystal, and what the manifest says of them."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        inputs = inputs_of(item, name)
        incar, kpoints, poscar = inputs.incar, inputs.kpoints, inputs.poscar
    if kpoints is None:
        raise ValueError(f"{item.tag} has no k-points")
    poscar.comment = f"{item.tag} {item.structure.composition.formula}"
    symbols, functional = list(inputs.potcar_symbols), str(inputs.user_potcar_functional or "PBE")
    files = {
        "POSCAR": poscar.get_str(significant_figures=12),
        "INCAR": str(incar),
        "KPOINTS": str(kpoints),
        "POTCAR.spec": "\n".join(symbols) + "\n",
        "job.sh": _JOB.format(tag=item.tag, functional=functional, names=" ".join(symbols)),
    }
    real = _potcar(symbols, functional) if potcars else None
    if real is not None:
        files["POTCAR"] = real
    about = {
        "pseudopotentials": symbols,
        "functional": functional,
        "potcar": "written" if real is not None else "names only",
        "kpoints": [int(n) for n in kpoints.kpts[0]],
        "incar": {k: str(v) for k, v in incar.items()},
    }
    notes = sorted({str(w.message) for w in said if issubclass(w.category, BadInputSetWarning)})
    return files, about | ({"notes": notes} if notes else {})


def _potcar(symbols: Sequence[str], functional: str) -> str | None:
    """The real POTCAR out of the user's own library, or None where pymatgen cannot make it."""
    if not has_potcars():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(Potcar(list(symbols), functional=functional))
        except (ValueError, OSError, KeyError, IndexError, EOFError):
            return None  # not set up for this functional, or one of the potentials is missing


def _is_magnetic(element: Any) -> bool:
    return isinstance(element, Element) and (
        element.symbol in _MAGNETIC or element.is_lanthanoid or element.is_actinoid
    )


def _readme(name: str, listed: Sequence[Mapping[str, Any]]) -> str:
    missing = sum(entry["potcar"] != "written" for entry in listed)
    functionals = ", ".join(sorted({str(entry["functional"]) for entry in listed}))
    lines = [
        "Candidates for VASP, written by Subhull",
        "",
        f"{len(listed)} folders, one per candidate or element. Settings: {SETS[name][1]}.",
        "Each holds POSCAR, INCAR, KPOINTS, POTCAR.spec (names of the pseudopotentials, in the order of POSCAR) and",
        "job.sh (a Slurm job; what to change is said in it).",
        "",
        f"POTCAR: {missing} of {len(listed)} folders have none, because pseudopotentials are licensed. job.sh puts",
        f"them together from your own library ({functionals}) if VASP_POTENTIALS names its folder.",
        "",
        "Run them:   for d in subhull-*/; do (cd \"$d\" && sbatch job.sh); done",
        "",
        "Bring back: upload vasprun.xml (best) or OUTCAR of each folder, or a zip of all folders, on the page",
        "            Candidates, or run   ./run cli vasp read FILE…",
        "Keep SYSTEM in INCAR as it is: by it a result finds its candidate again.",
        "Formation energies need the elements' energies with the same settings: run each element's ground state too",
        "(the folders subhull-element-…, where there are; check that the form is the one you trust) and upload its",
        "vasprun.xml with the rest, or upload references.json with your values in eV/atom:",
        '{"B": -6.7, "Ta": -11.8}',
        "",
        *[f"{e['folder']}: {e.get('cell', '')}; {' '.join(e['pseudopotentials'])}" for e in listed],
        *[f"  note on {e['tag']}: {n}" for e in listed for n in e.get("notes", [])],
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


_JOB = """#!/bin/bash
# A template for Slurm. Change what your machine needs: cores, time, partition, module, the name of the program.
#SBATCH --job-name={tag}
#SBATCH --nodes=1
#SBATCH --ntasks=32
#SBATCH --time=24:00:00
##SBATCH --partition=NAME        # remove one # and name your partition
set -eu
cd "${{SLURM_SUBMIT_DIR:-.}}"

# module load vasp               # change: how VASP is found on your machine
VASP="${{VASP:-srun vasp_std}}"    # change: how VASP is started

# POTCAR is put together from your own library: VASP_POTENTIALS is the folder of {functional} that holds {names}
if [ ! -s POTCAR ]; then
    if [ -z "${{VASP_POTENTIALS:-}}" ]; then
        echo "There is no POTCAR: set VASP_POTENTIALS to your folder of {functional} pseudopotentials." >&2
        exit 1
    fi
    while read -r name; do
        cat "$VASP_POTENTIALS/$name/POTCAR"
    done < POTCAR.spec > POTCAR.part
    mv POTCAR.part POTCAR
fi

$VASP
"""
