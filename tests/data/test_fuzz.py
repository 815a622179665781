"""Damaged files of every format: each gives structures or reasons, quickly, and nothing else."""

from __future__ import annotations

import io
import json
import random
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from ase.io import write as write_ase
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

from core.data.readers.parsing import parse_rows
from core.data.readers.sources import SourceError, raw_rows
from core.energy.hull_files import read_hull
from core.energy.hull_source import HullFileError
from tests.data.test_readers import GOOD, TIB2, cif_of

ROUNDS = 150
JUNK = [
    *(b"\0", b"\xff\xfe", b"nan", b"1e999", b"-", b"'", b'"', b"{", b"\n", b"\r", b"=", b"loop_\n"),
    *(b"[" * 50, b"9" * 400),
]


def formats() -> dict[str, bytes]:
    frames = io.StringIO()
    write_ase(frames, AseAtomsAdaptor.get_atoms(TIB2), format="extxyz")
    cif = cif_of(TIB2)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.cif", cif)
    return {
        "x.cif": cif.encode(),
        "POSCAR": Poscar(TIB2).get_str().encode(),
        "x.extxyz": frames.getvalue().encode(),
        "x.json": json.dumps(TIB2.as_dict()).encode(),
        "x.jsonl": json.dumps(GOOD).encode(),
        "x.csv": b'material_id,cif\nm,"' + cif.replace('"', "'").encode() + b'"\n',
        "x.zip": packed.getvalue(),
    }


def damaged(data: bytes, seed: int) -> bytes:
    """A few cuts, repeats, flips and insertions."""
    rng = random.Random(seed)
    text = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        end = min(end, at + 40)
        match rng.randrange(4):
            case 0:
                del text[at:end]
            case 1:
                text[at:at] = text[at:end] * rng.randint(1, 3)
            case 2 if at < len(text):
                text[at] = rng.randrange(256)
            case _:
                text[at:at] = rng.choice(JUNK)
        text = text or bytearray(b"x")
    return bytes(text)


@pytest.mark.parametrize("name", formats())
def test_damaged_files_give_structures_or_reasons(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for seed in range(ROUNDS):
        path.write_bytes(damaged(formats()[name], seed))
        try:
            parsed = list(parse_rows(raw_rows(path), "M", processes=1))
        except SourceError:
            continue
        for records, problems in parsed:
            assert all(r.natoms > 0 and r.cell for r in records)
            assert all(p.detail and "Traceback" not in p.detail for p in problems)


def test_damaged_hulls_are_read_or_refused_in_words() -> None:
    hull = {"chemical_system": "B-Ta", "method": "M", "entries": [{**GOOD, "enthalpy_formation_atom": -0.5}]}
    sources = {"h.json": json.dumps(hull).encode(), "h.csv": b"formula,formation_energy\nTaB2,-0.5\nTaB,-0.4\n"}
    for name, data in sources.items():
        for seed in range(2 * ROUNDS):
            with suppress(HullFileError):
                assert read_hull(damaged(data, seed), name).phases
