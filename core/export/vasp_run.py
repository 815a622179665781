"""What VASP came to: one vasprun.xml or OUTCAR, read in a guarded way by pymatgen or ASE."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from core.data.rows import finite

CONVERGED, STOPPED, ELECTRONS = "converged", "stopped at the step limit", "failed: electrons not converged"
MAX_ATOMS = 1000
MAX_ENERGY = 200.0  # eV/atom; no pseudopotential's energy is as large
_HEAD, _TAIL, _LONG_HEAD = 65_536, 1024, 8_000_000  # bytes; the last: all that stands before the first ionic step
_LINE = 500  # characters of a line that are looked at
_MANY = 1_000_000  # of anything that a parser would make room for because a line says so
# What stands before the root of a vasprun.xml: no DOCTYPE, hence no entities of any kind.
_PLAIN_XML = re.compile(rb"(<\?xml([^>?]*)\?>)?\s*<modeling[\s>]")
_ENCODINGS = (b"iso-8859-1", b"utf-8", b"us-ascii", b"ascii")
_GGA = {"PE": "PBE", "PS": "PBEsol", "RP": "RPBE", "RE": "revPBE", "AM": "AM05", "91": "PW91", "CA": "LDA"}
_GGA |= {"OR": "optPBE", "BO": "optB88", "MK": "optB86b", "ML": "vdW-DF2", "CX": "vdW-DF-cx", "B5": "BEEF"}
_DISPERSION = {1: "D2", 10: "D2", 11: "D3", 12: "D3-BJ", 2: "TS", 20: "TS", 21: "TS-HI", 202: "MBD", 4: "dDsC"}


class RunError(ValueError):
    """A file of which no result can be taken; the message is a sentence's end: "it was cut off …"."""


@dataclass(frozen=True)
class VaspRun:
    """One run of VASP.

    method: "VASP" for PBE, else with what it was: "VASP-PBEsol", "VASP-PBE+U"; system: SYSTEM and POSCAR's comment
    initial, final: the crystal at the first and the last step; first_energy, energy: eV/atom there, sigma to 0
    status: `CONVERGED`, `STOPPED` (ionic steps used up) or `ELECTRONS` (the last step's electrons not converged)
    max_force: eV/Å at the last step, None where it is not told; encut: eV; potcars: titles, as VASP writes them
    """

    kind: str
    method: str
    system: str
    initial: Structure
    final: Structure
    first_energy: float
    energy: float
    steps: int
    status: str
    static: bool
    max_force: float | None
    encut: float | None
    potcars: tuple[str, ...]


def kind_of_run(path: Path) -> str:
    """ "vasprun.xml", "OUTCAR", or "" for neither, by how the file begins."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if re.match(rb"\s*vasp\.\d", head):
        return "OUTCAR"
    return "vasprun.xml" if b"<modeling" in head or head.lstrip().startswith(b"<?xml") else ""


def read_run(path: Path) -> VaspRun:
    """The result in an unpacked file. Raises RunError, and nothing else."""
    kind = kind_of_run(path)
    if not kind:
        raise RunError("it is neither a vasprun.xml nor an OUTCAR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = _read_vasprun(path) if kind == "vasprun.xml" else _read_outcar(path)
    except RunError:
        raise
    except Exception as error:  # the parsers raise whatever a broken line makes them raise
        raise RunError(f"it cannot be read as {kind}: it is damaged or of a kind of run without energies") from error
    return _checked(run)


def method_name(tags: Mapping[str, Any], potcars: tuple[str, ...]) -> str:
    """The energy method of a run: "VASP" for PBE without further terms, else "VASP-" and what it was.

    tags: of INCAR or as VASP filled them in; potcars: their titles, which say the functional where no tag does.
    """
    meta = str(tags.get("METAGGA") or "").strip().upper()
    if _true(tags.get("LHFCALC")):
        screened = 0.19 < float(tags.get("HFSCREEN") or 0) < 0.22
        name = "HSE06" if screened else "hybrid"
    elif meta not in ("", "--", "-", "NONE", "F"):
        name = re.sub(r"[^A-Z0-9-]", "", meta)
    else:
        gga = str(tags.get("GGA") or "").strip().upper()
        name = _GGA.get(gga) or (_of_potcars(potcars) if gga in ("", "--") else re.sub(r"[^A-Z0-9]", "", gga))
    name += "+U" if _true(tags.get("LDAU")) and any(_numbers(tags.get("LDAUU", 1))) else ""
    name += "+vdW" if _true(tags.get("LUSE_VDW")) else ""
    dispersion = int(float(tags.get("IVDW") or 0))
    name += f"+{_DISPERSION.get(dispersion, f'IVDW{dispersion}')}" if dispersion else ""
    return "VASP" if name == "PBE" else f"VASP-{name}"[:64]


def _of_potcars(titles: tuple[str, ...]) -> str:
    kinds = {title.split()[0] for title in titles if title.split()}
    names = {"PAW_PBE": "PBE", "PAW": "LDA", "PAW_GGA": "PW91", "US": "LDA"}
    return names.get(kinds.pop(), "unknown") if len(kinds) == 1 else "unknown"


def _read_vasprun(path: Path) -> VaspRun:
    from pymatgen.io.vasp import Vasprun

    _check_xml(path)
    found = Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
    tags = {**found.incar, **found.parameters}
    for key in ("METAGGA", "IVDW", "LDAUU"):  # the parameters of some releases leave them out, or hold what is unused
        if key in found.incar:
            tags[key] = found.incar[key]
    if tags.get("IBRION") == 0 and tags.get("NSW", 0) > 0:
        raise RunError("it is molecular dynamics, not a relaxation")
    if not found.ionic_steps:
        raise RunError("it holds no finished ionic step")
    atoms = len(found.final_structure)
    potcars = tuple(found.potcar_symbols)
    forces = found.ionic_steps[-1].get("forces")
    return VaspRun(
        kind="vasprun.xml",
        method=method_name(tags, potcars),
        system=f"{found.incar.get('SYSTEM', '')} {found.parameters.get('SYSTEM', '')}"[: 2 * _LINE],
        initial=found.initial_structure,
        final=found.final_structure,
        first_energy=float(found.ionic_steps[0]["e_0_energy"]) / atoms,
        energy=float(found.final_energy) / atoms,
        steps=len(found.ionic_steps),
        status=_status(bool(found.converged_electronic), bool(found.converged_ionic)),
        static=int(tags.get("NSW", 0)) <= 0,
        max_force=_largest(forces),
        encut=finite(tags.get("ENCUT") or tags.get("ENMAX")),
        potcars=potcars,
    )


def _check_xml(path: Path) -> None:
    """Refuse what VASP never writes, before a parser sees it, and what it did not write to the end."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, path.stat().st_size - _TAIL))
        tail = file.read()
    found = _PLAIN_XML.match(head.lstrip())
    if found is None:
        raise RunError("it is XML, but no vasprun.xml: VASP writes neither declarations nor another root")
    encoding = re.search(rb"encoding\s*=\s*[\"']([^\"']*)", found[2] or b"")
    if encoding and encoding[1].lower() not in _ENCODINGS:
        raise RunError("its encoding is none that VASP writes")
    if not tail.rstrip().endswith(b"</modeling>"):
        raise RunError("it was cut off: VASP did not end, or the file was not copied whole")
    _check_repeats(path)


def _check_repeats(path: Path) -> None:
    """Refuse "999999999*5" before the first ionic step: INCAR's way to repeat a value, which a parser writes out.

    So that nothing hides one, comments, references to characters, further declarations and name spaces are refused too:
    VASP writes none.
    """
    with path.open("rb") as file:
        parts = re.split(rb"<calculation\s*>", file.read(_LONG_HEAD), maxsplit=1)
    if len(parts) < 2:
        raise RunError("it holds no finished ionic step")
    if re.search(rb"<!|&#|xmlns", parts[0]) or parts[0].count(b"<?") > 1:
        raise RunError("it holds comments or declarations, which VASP writes nowhere")
    for first, second in re.findall(rb"(\d{1,30})\*(?:(\d{1,30})\*)?", parts[0]):
        if int(first) * int(second or 1) > _MANY:
            raise RunError("it repeats a value more often than any INCAR does")


def _read_outcar(path: Path) -> VaspRun:
    from ase.io import read
    from pymatgen.io.ase import AseAtomsAdaptor

    with path.open("rb") as file:
        head = file.read(_LONG_HEAD).decode("latin-1")
    electronic, ionic, ended = _ending(path)
    if not ended:
        raise RunError("it was cut off: VASP did not end, or the file was not copied whole")
    tags = _outcar_tags(head)
    if tags.get("IBRION") == "0" and int(tags.get("NSW", 0)) > 0:
        raise RunError("it is molecular dynamics, not a relaxation")
    images: Any = read(path, index=":", format="vasp-out")
    if not images:
        raise RunError("it holds no finished ionic step")
    last, atoms = images[-1], len(images[-1])
    titles = (line[:_LINE] for line in head.split("\n") if line.lstrip()[:7] == "POTCAR:")
    potcars = tuple(dict.fromkeys(title.partition(":")[2].strip() for title in titles))
    static = int(tags.get("NSW", 0)) <= 0
    return VaspRun(
        kind="OUTCAR",
        method=method_name(tags, potcars),
        system=f"{tags.get('SYSTEM', '')} {tags.get('POSCAR', '')}",
        initial=AseAtomsAdaptor.get_structure(images[0]),
        final=AseAtomsAdaptor.get_structure(last),
        first_energy=float(images[0].get_potential_energy()) / atoms,
        energy=float(last.get_potential_energy()) / atoms,
        steps=len(images),
        status=_status(electronic, static or ionic),
        static=static,
        max_force=_largest(last.get_forces(apply_constraint=False)),
        encut=finite(tags.get("ENCUT")),
        potcars=potcars,
    )


_WORDS = ("IBRION", "NSW", "ENCUT", "GGA", "METAGGA", "LHFCALC", "HFSCREEN", "IVDW", "LUSE_VDW", "LDAU")
_TEXTS = ("SYSTEM", "POSCAR", "LDAUU")


def _outcar_tags(head: str) -> dict[str, Any]:
    """INCAR's tags as an OUTCAR repeats them, and POSCAR's comment."""
    tags: dict[str, Any] = {}
    for line in head.split("\n"):
        key, mark, value = line[:_LINE].partition("=")
        key, words = key.strip(), value.split()
        if not mark or not words:
            if "LDA+U is selected" in line:
                tags["LDAU"] = "T"
        elif key in _WORDS:
            tags[key] = words[0].rstrip(";")  # what VASP made of it comes behind what the user wrote
        elif key in _TEXTS:
            tags[key] = f"{tags.get(key, '')} {value.strip()}"[-_LINE:] if key != "LDAUU" else value.strip()
        elif key.startswith("LDA+U is selected"):
            tags["LDAU"] = "T"
        elif key.endswith("LDAUU"):
            tags["LDAUU"] = value.strip()
    return tags


def _ending(path: Path) -> tuple[bool, bool, bool]:
    """(the last electronic loop converged, the ions did, VASP came to its end) by what an OUTCAR says.

    A loop without a word on it (as in VASP 4) counts as not converged. Raises RunError where it speaks of more atoms,
    bands or k-points than can be, before a parser makes room for them.
    """
    electronic = ionic = ended = False
    with path.open(encoding="latin-1") as file:
        for line in file:
            if "aborting loop" in line:
                electronic = "EDIFF is reached" in line
            elif "reached required accuracy" in line:
                ionic = True
            elif "General timing and accounting informations for this job" in line:
                ended = True
            elif "ions per type" in line or "NKPTS" in line:
                counts = [int(n) for n in re.findall(r"\b\d{1,30}\b", line[: _LINE * 10])]
                if sum(counts) > (MAX_ATOMS if "ions per type" in line else _MANY):
                    raise RunError(f"it has more than {MAX_ATOMS:,} atoms, or more bands or k-points than can be")
    return electronic, ionic, ended


def _status(electronic: bool, ionic: bool) -> str:
    return ELECTRONS if not electronic else CONVERGED if ionic else STOPPED


def _checked(run: VaspRun) -> VaspRun:
    """Raises RunError for numbers that no crystal has."""
    for structure in (run.initial, run.final):
        if not 0 < len(structure) <= MAX_ATOMS:
            raise RunError(f"it has {len(structure):,} atoms: at most {MAX_ATOMS:,} are taken")
        if not (np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()):
            raise RunError("its crystal holds numbers that are none")
        if not structure.is_ordered or not 0.5 < structure.volume / len(structure) < 2000:
            raise RunError("its cell is no crystal's")
    if run.initial.composition != run.final.composition:
        raise RunError("its composition changes on the way")
    for value in (run.first_energy, run.energy):
        if run.status != ELECTRONS and not (math.isfinite(value) and abs(value) < MAX_ENERGY):
            raise RunError(f"its energy of {value:g} eV/atom is none")
    return run


def _largest(forces: Any) -> float | None:
    if forces is None or not len(forces):
        return None
    return finite(np.linalg.norm(np.asarray(forces, dtype=float), axis=1).max())


def _numbers(value: Any) -> list[float]:
    parts = value.split() if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    return [n for part in parts if (n := finite(part)) is not None]


def _true(value: Any) -> bool:
    return value is True or str(value).strip(" .").upper() in ("T", "TRUE")
