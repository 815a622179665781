"""Results as VASP writes them: vasprun.xml and OUTCAR of a relaxation, laid out like those of VASP 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pymatgen.core import Structure


@dataclass
class Run:
    """steps: crystals of the ionic steps, sites of an element together; energies: eV per cell, sigma to 0, one each."""

    steps: Sequence[Structure]
    energies: Sequence[float]
    system: str = "unknown system"
    comment: str = "a crystal"
    gga: str = "--"
    incar: dict[str, str] = field(default_factory=dict)
    nsw: int = 200
    nelm: int = 60
    ibrion: int = 2
    encut: float = 500.0
    electronic: bool = True
    ionic: bool = True
    label: str = "PAW_PBE"
    suffix: str = "06Sep2000"
    smearing: float = 0.002  # eV per cell between the free energy and sigma to 0

    @property
    def elements(self) -> list[str]:
        return list(dict.fromkeys(site.specie.symbol for site in self.steps[0]))

    @property
    def potcars(self) -> list[str]:
        return [f"{self.label} {e} {self.suffix}" for e in self.elements]

    @property
    def ionic_limit(self) -> int:
        return self.nsw if self.ionic else len(self.steps)


def forces_of(structure: Structure, step: int) -> np.ndarray:
    """(N, 3) in eV/Å: some numbers, smaller at later steps."""
    return np.random.default_rng(len(structure)).normal(size=(len(structure), 3)) * 0.1 ** (step + 1)


def vasprun(run: Run) -> str:
    """The text of a vasprun.xml."""
    first = run.steps[0]
    counts = {e: sum(s.specie.symbol == e for s in first) for e in run.elements}
    tags = {"SYSTEM": run.system, "IBRION": str(run.ibrion), "NSW": str(run.ionic_limit), **run.incar}
    incar = "".join(
        f'  <v name="{k}"> {v}</v>\n' if k == "LDAUU" else f'  <i type="{_kind(k)}" name="{k}">{_tag(k, v)}</i>\n'
        for k, v in tags.items()
    )
    atoms = "".join(
        f"    <rc><c>{s.specie.symbol:2s}</c><c>{run.elements.index(s.specie.symbol) + 1:4d}</c></rc>\n" for s in first
    )
    types = "".join(
        f"    <rc><c>{counts[e]:4d}</c><c>{e:2s}</c><c>     10.811</c><c>      3.000</c><c>  {title}  </c></rc>\n"
        for e, title in zip(run.elements, run.potcars, strict=True)
    )
    ldau = run.incar.get("LDAU", "F").strip(".")[0]
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">6.3.0  </i>
  <i name="subversion" type="string">20Jan22 (build Feb 10 2022 15:15:41) complex   parallel </i>
 </generator>
 <incar>
{incar} </incar>
 <kpoints>
  <generation param="Gamma">
   <v type="int" name="divisions">       4        4        4 </v>
   <v name="usershift">      0.00000000       0.00000000       0.00000000 </v>
  </generation>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
  <varray name="weights" >
   <v>       1.00000000 </v>
  </varray>
 </kpoints>
 <parameters>
  <separator name="general" >
   <i type="string" name="SYSTEM">{run.system}</i>
  </separator>
  <separator name="electronic" >
   <i type="string" name="PREC">accura</i>
   <i name="ENMAX">{run.encut:16.8f}</i>
   <i name="EDIFF">      0.00001000</i>
   <separator name="electronic convergence" >
    <i type="int" name="NELM">{run.nelm:6d}</i>
   </separator>
  </separator>
  <separator name="ionic" >
   <i type="int" name="NSW">{run.ionic_limit:6d}</i>
   <i type="int" name="IBRION">{run.ibrion:6d}</i>
   <i type="int" name="ISIF">     3</i>
   <i name="EDIFFG">     -0.01000000</i>
  </separator>
  <i type="logical" name="LDAU"> {ldau}  </i>
  <separator name="electronic exchange-correlation" >
   <i type="string" name="GGA">{run.gga}</i>
   <i type="logical" name="LHFCALC"> F  </i>
   <i type="string" name="PRECFOCK"></i>
   <i name="AEXX">      0.00000000</i>
   <i name="HFSCREEN">      0.00000000</i>
  </separator>
  <separator name="vdW DFT" >
   <i type="logical" name="LUSE_VDW"> F  </i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>{len(first):8d} </atoms>
  <types>{len(run.elements):8d} </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
{atoms}   </set>
  </array>
  <array name="atomtypes" >
   <dimension dim="1">type</dimension>
   <set>
{types}   </set>
  </array>
 </atominfo>
{_structure(first, "initialpos")}{"".join(_calculation(run, i) for i in range(len(run.steps)))}{
        _structure(run.steps[-1], "finalpos")
    }</modeling>
"""


def _calculation(run: Run, step: int) -> str:
    last = step == len(run.steps) - 1
    loops = 2 if run.electronic or not last else run.nelm
    energy = run.energies[step]
    values = (
        f'   <i name="e_fr_energy">{energy - run.smearing:16.8f} </i>\n'
        f'    <i name="e_wo_entrp">{energy + run.smearing:16.8f} </i>\n'
        f'    <i name="e_0_energy">{energy:16.8f} </i>\n'
    )
    forces = "".join("   <v>" + "".join(f"{x:16.8f}" for x in row) + " </v>\n" for row in _forces(run, step))
    return (
        " <calculation>\n"
        + loops * f"  <scstep>\n   <energy>\n {values}   </energy>\n  </scstep>\n"
        + _structure(run.steps[step])
        + f'  <varray name="forces" >\n{forces}  </varray>\n'
        + f"  <energy>\n{values}  </energy>\n </calculation>\n"
    )


def _structure(structure: Structure, name: str = "") -> str:
    named = f' name="{name}"' if name else ""
    rows = ["".join(f"{x:17.8f}" for x in row) for row in structure.lattice.matrix]
    sites = ["".join(f"{x:17.8f}" for x in site.frac_coords) for site in structure]
    return (
        f'  <structure{named} >\n   <crystal>\n    <varray name="basis" >\n'
        + "".join(f"     <v>{row} </v>\n" for row in rows)
        + f'    </varray>\n    <i name="volume">{structure.volume:16.8f} </i>\n   </crystal>\n'
        + '   <varray name="positions" >\n'
        + "".join(f"    <v>{site} </v>\n" for site in sites)
        + "   </varray>\n  </structure>\n"
    )


def outcar(run: Run) -> str:
    """The text of an OUTCAR."""
    first = run.steps[0]
    counts = [sum(s.specie.symbol == e for s in first) for e in run.elements]
    titles = "".join(f" POTCAR:    {title}                  \n" for title in run.potcars)
    tags = {"SYSTEM": run.system, **run.incar}
    plus_u = (
        " LDA+U is selected, type is set to LDAUTYPE =  2\n" if run.incar.get("LDAU", "F").strip(".")[0] == "T" else ""
    )
    if plus_u:
        plus_u += f"   U (eV)           for each species    LDAUU =  {run.incar['LDAUU']}\n"
    return (
        " vasp.6.3.0 20Jan22 (build Feb 10 2022 15:15:41) complex\n\n"
        " executed on             LinuxIFC date 2026.04.28  16:25:58\n running on    4 total cores\n\n"
        + " INCAR:\n" + "".join(f"   {k} = {v}\n" for k, v in tags.items()) + "\n"
        + titles + titles
        + f" POSCAR: {run.comment}\n\n"
        " Dimension of arrays:\n"
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=     14\n"
        f"   number of dos      NEDOS =    301   number of ions     NIONS = {len(first):6d}\n"
        "   total plane-waves  NPLWV =   5488\n"
        f"   ions per type =            {''.join(f'{n:6d}' for n in counts)}\n\n"
        " k-points in reciprocal lattice and weights: Gamma\n   0.00000000  0.00000000  0.00000000       1.000\n\n"
        f" SYSTEM =  {run.system:40s}\n POSCAR =  {run.comment:40s}\n\n"
        " Startparameter for this run:\n"
        "   ISPIN  =      1    spin polarized calculation?\n"
        f"   ENCUT  =  {run.encut:.1f} eV  36.75 Ry    6.06 a.u.   4.48  4.48  9.12*2*pi/ulx,y,z\n"
        f"   NELM   = {run.nelm:6d};   NELMIN=  6; NELMDL=-12     # of ELM steps\n"
        f"   NSW    = {run.ionic_limit:6d}    number of steps for IOM\n"
        f"   IBRION = {run.ibrion:6d}    ionic relax: 0-MD 1-quasi-New 2-CG\n"
        f" Exchange correlation treatment:\n   GGA     =    {run.gga}    GGA type\n"
        "   LHFCALC =     F    Hartree Fock is set to\n" + plus_u
        + "".join(_ionic_step(run, i) for i in range(len(run.steps)))
        + (" reached required accuracy - stopping structural energy minimisation\n" if run.ionic and run.nsw else "")
        + "\n General timing and accounting informations for this job:\n ========================================\n\n"
        "                  Total CPU time used (sec):       21.404\n"
        "                   Maximum memory used (kb):      123456.\n"
    )  # fmt: skip


def _ionic_step(run: Run, step: int) -> str:
    structure, energy = run.steps[step], run.energies[step]
    good = run.electronic or step < len(run.steps) - 1
    ending = "because EDIFF is reached" if good else "because EDIFF was not reached (unconverged)"
    reciprocal = structure.lattice.inv_matrix.T
    cell = "".join(
        "  " + "".join(f"{x:14.9f}" for x in [*row, *other]) + "\n"
        for row, other in zip(structure.lattice.matrix, reciprocal, strict=True)
    )
    rows = "".join(
        "  " + "".join(f"{x:13.6f}" for x in [*site.coords, *force]) + "\n"
        for site, force in zip(structure, _forces(run, step), strict=True)
    )
    return (
        f"\n--------------------------------------- Iteration {step + 1:6d}(   8)  -----------------------------\n\n"
        f"------------------------ aborting loop {ending} ----------------------------------------\n\n"
        " E-fermi :   3.4461     XC(G=0):  -9.6421     alpha+bet : -9.4000\n\n"
        f" VOLUME and BASIS-vectors are now :\n volume of cell :  {structure.volume:12.2f}\n"
        f"      direct lattice vectors                 reciprocal lattice vectors\n{cell}\n"
        " POSITION                                       TOTAL-FORCE (eV/Angst)\n"
        f" {'-' * 83}\n{rows} {'-' * 83}\n    total drift:    0.000000      0.000000      0.000000\n\n"
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        f"  free  energy   TOTEN  = {energy - run.smearing:18.8f} eV\n\n"
        f"  energy  without entropy={energy + run.smearing:18.8f}  energy(sigma->0) ={energy:18.8f}\n\n"
    )


def _forces(run: Run, step: int) -> np.ndarray:
    return forces_of(run.steps[step], step)


def _kind(tag: str) -> str:
    return {"IBRION": "int", "NSW": "int", "IVDW": "int", "LDAU": "logical"}.get(tag, "string")


def _tag(tag: str, value: str) -> str:
    return value.strip(".")[0] if tag == "LDAU" else value
