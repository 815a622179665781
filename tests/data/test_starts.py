"""A text becomes a structure to start from, or a sentence with a remedy; cells against pymatgen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from core.data.starts import (
    StartError,
    as_values,
    from_values,
    group_of,
    in_cell,
    is_quick,
    read_structures,
    recognise,
)
from core.export.bundle import cif_text
from tests.data.test_readers import TIB2, cif_of

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def extxyz(structure: Structure, folder: Path) -> str:
    path = folder / "x.xyz"
    write(path, [AseAtomsAdaptor.get_atoms(structure)] * 2, format="extxyz")
    return path.read_text()


def without(text: str, *words: str) -> str:
    """A CIF without the lines of its symmetry."""
    kept = [line for line in text.split("\n") if not any(w in line for w in words)]
    return "\n".join(kept)


def bare(structure: Structure) -> str:
    """A CIF that says nothing of symmetry."""
    lines = ["data_x", *(f"_cell_length_{k} {v:.6f}" for k, v in zip("abc", structure.lattice.abc, strict=True))]
    angles = zip(("alpha", "beta", "gamma"), structure.lattice.angles, strict=True)
    lines += [f"_cell_angle_{k} {v:.6f}" for k, v in angles]
    lines += ["loop_", "_atom_site_label", *(f"_atom_site_fract_{x}" for x in "xyz")]
    for i, site in enumerate(structure):
        lines.append(f"{site.specie.name}{i} " + " ".join(f"{v:.6f}" for v in site.frac_coords))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", ["", "x.txt", "upload"])
def test_every_format_is_told_by_its_text_and_gives_the_crystal(tmp_path: Path, name: str) -> None:
    texts = {
        "cif": str(CifWriter(SALT, symprec=0.01)),
        "poscar": SALT.to(fmt="poscar"),
        "extxyz": extxyz(SALT, tmp_path),
        "json": json.dumps(SALT.as_dict()),
    }
    for kind, text in texts.items():
        assert recognise(text, name) == kind
        found = read_structures(text, name or "pasted text")
        assert len(found) == (2 if kind == "extxyz" else 1)
        assert found[0].problem == ""
        assert found[0].structure is not None
        assert StructureMatcher().fit(found[0].structure, SALT)


def test_a_cif_whose_first_line_was_not_copied_is_read() -> None:
    text = str(CifWriter(SALT)).split("\n", 2)[2]
    assert "data_" not in text
    assert read_structures(text, "pasted text")[0].structure == SALT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("hello <script>alert(1)</script>", "none of CIF, POSCAR"),
        ("3\nno cell\nH 0 0 0\nH 0 0 1\nH 0 1 0\n", "no crystal"),
        ("data_x\n_cell_length_a 3\n", "no structure|unit cell|list of atoms"),
        ("x" * 2_100_000, "longer than"),
        ('{"a": [1]}', "neither a structure nor"),
        ("TiB2\n1.0\n3 0 0\n0 3 0\n0 0 3\n1 2\nDirect\n0 0 0\n.3 .6 .5\n.6 .3 .5\n", "names no elements"),
    ],
)  # fmt: skip
def test_what_is_none_is_said_in_words(text: str, said: str) -> None:
    try:
        words = " ".join(f.problem for f in read_structures(text, "given"))
    except StartError as error:
        words = str(error)
    assert re.search(said, words), words


def test_a_cif_without_symmetry_is_read_as_p1_and_says_so() -> None:
    (found,) = read_structures(bare(SALT), "x.cif")
    assert found.problem == ""
    assert "read as P1" in found.notes[0]
    assert group_of(found.structure) == 225
    unknown = bare(SALT).replace("loop_", "_symmetry_space_group_name_H-M 'Q m m m'\nloop_", 1)
    (found,) = read_structures(unknown, "x.cif")
    assert found.remedies == ("p1",)
    assert "no space group that is known" in found.problem
    (found,) = read_structures(unknown, "x.cif", ["p1"])
    assert len(found.structure) == len(SALT)


def test_deuterium_is_hydrogen_where_that_is_wanted() -> None:
    ice = Structure(Lattice.cubic(4), ["D", "D", "O"], [[0, 0, 0], [0.3, 0.3, 0], [0.15, 0, 0.2]])
    (found,) = read_structures(bare(ice), "x.cif")
    assert "deuterium" in found.problem
    assert found.remedies == ("hydrogen",)
    (found,) = read_structures(bare(ice), "x.cif", ["hydrogen"])
    assert found.problem == ""
    assert found.structure.composition.formula == "H2 O1"


def test_a_cell_that_cannot_be_is_refused_before_its_atoms_are_merged() -> None:
    text = str(CifWriter(SALT)).replace("_cell_length_a   5.60000000", "_cell_length_a   1e-320")
    (found,) = read_structures(text, "x.cif", ["merge", "p1"])
    assert re.fullmatch(r"Its cell holds .* Å³\.", found.problem)


@pytest.mark.parametrize(("shift", "problem"), [(0.0, "stand at the same place"), (0.03, "")])
def test_overlapping_atoms_are_merged_where_that_is_wanted(shift: float, problem: str) -> None:
    twice = SALT.to(fmt="poscar").replace("Na Cl\n4 4", "Na Cl Na\n4 4 1")
    twice = twice.rstrip() + f"\n{shift} 0 0 Na\n"
    (found,) = read_structures(twice, "POSCAR")
    assert problem in found.problem
    assert found.remedies == ("merge",)
    (found,) = read_structures(twice, "POSCAR", ["merge"])
    assert found.problem == ""
    assert len(found.structure) == 8
    other = twice.replace("Na Cl Na", "Na Cl K")
    (found,) = read_structures(other, "POSCAR")
    assert found.remedies == ()
    assert not problem or "occupancy below 1" in found.problem


def test_a_disordered_crystal_offers_its_orderings() -> None:
    alloy = SALT.copy()
    alloy.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
    (found,) = read_structures(str(CifWriter(alloy)), "x.cif")
    assert found.remedies == ("order",)
    assert not found.structure.is_ordered
    again = from_values(json.loads(json.dumps(as_values(found))))
    assert again.structure == found.structure
    assert (again.problem, again.remedies) == (found.problem, found.remedies)


def test_the_blocks_of_a_cif_are_told_apart() -> None:
    text = cif_of(TIB2) + "\ndata_bad\n_cell_length_a 3\nloop_\n_atom_site_label\nX\n" + str(CifWriter(SALT))
    found = read_structures(text, "x.cif")
    assert [bool(f.problem) for f in found] == [False, True, False]
    assert found[2].title == "block 3: Na4 Cl4"


@pytest.mark.parametrize(
    "structure",
    [
        SALT * (2, 1, 1),
        Structure.from_spacegroup("I4/mmm", Lattice.tetragonal(3.2, 8), ["Mo", "Si"], [[0, 0, 0], [0, 0, 0.33]]),
        Structure.from_spacegroup("R-3m", Lattice.hexagonal(3, 12), ["Li", "Co", "O"],
                                  [[0, 0, 0.5], [0, 0, 0], [0, 0, 0.26]]),
        Structure.from_spacegroup("C2/m", Lattice.monoclinic(12, 3, 5.8, 104), ["Ga"], [[0.09, 0, 0.79]]),
    ],
)  # fmt: skip
def test_cells_are_those_of_pymatgen(structure: Structure) -> None:
    analyzer = SpacegroupAnalyzer(structure)
    wanted = {
        "given": structure,
        "primitive": analyzer.get_primitive_standard_structure(),
        "conventional": analyzer.get_conventional_standard_structure(),
    }
    for kind, other in wanted.items():
        made = in_cell(structure, kind)
        assert len(made) == len(other)
        assert made.volume == pytest.approx(other.volume)
        assert StructureMatcher(primitive_cell=False, attempt_supercell=False).fit(made, other)
        assert group_of(made) == group_of(structure)


def test_what_claims_many_atoms_is_not_read_at_once() -> None:
    rng = np.random.default_rng(0)
    large = Structure(Lattice.cubic(30), ["B"] * 300, rng.random((300, 3)))
    assert not is_quick(bare(large))
    assert is_quick(cif_text(large, {})), "P1, and it says so"
    assert not is_quick(cif_text(large, {}) + bare(large)), "of two blocks one may hide behind the other"
    assert is_quick(large.to(fmt="poscar"))
    assert is_quick(cif_of(TIB2))
