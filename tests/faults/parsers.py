"""Everything that reads what comes from outside, with valid samples to damage."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ase.io import write as write_ase
from hypothesis import strategies as st
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

from core.data.readers.parsing import parse_rows
from core.data.readers.sources import SourceError, raw_rows
from core.data.starts import StartError, read_structures
from core.energy.hull_files import read_hull
from core.energy.hull_source import HullFileError
from core.export.vasp_run import RunError, read_run
from core.export.vasp_sources import unpacked
from core.workflows.context import UserError
from core.workflows.repeat import recorded_run
from core.workflows.vasp_references import read_references
from tests.data.test_readers import GOOD, TIB2, cif_of
from tests.energy.test_hull_files import CHULL, NHULL, WEB
from tests.faults.strategies import damaged, odd_json, worded
from tests.vasp_runs import Run, outcar, vasprun

Case = tuple[str, bytes]  # a file's name and what it holds
CIF = cif_of(TIB2)
CIF_WORDS = [
    *("data_x\n", "loop_\n", "_cell_length_a ", "_cell_angle_alpha ", "_atom_site_label\n", "_atom_site_fract_x\n"),
    *("_symmetry_equiv_pos_as_xyz\n", "'x, y, z'\n", "_atom_site_type_symbol\n", "Ti", "B2", "D", "Fe3+", ";\n"),
    *("_symmetry_space_group_name_H-M ", "'P 6/mmm'", "_atom_site_occupancy\n", "_chemical_formula_sum ", "?", "."),
    *("-x,-y,1/0", "_cell_modulation_dimension 1\n", "x+1/2,y-1/3,z*9", CIF[:300], CIF[-300:]),
]  # fmt: skip
WEB_ENTRIES = [{**GOOD, "compound": "B2Ta1", "energy_atom": -9.0, "dft_type": ["PAW_PBE"], "aurl": "a:b"}] * 2


@dataclass(frozen=True)
class Parser:
    """inputs: files to read; read: True where one was taken, False where it was refused in a sentence.

    share: of the inputs that the usual parser gets; store: it needs a store of its own, installed: with what ships
    usual: events that are no finding: a cache that unpickles what it kept
    """

    inputs: st.SearchStrategy[Case]
    read: Callable[[Path, Case], bool]
    share: float = 1.0
    store: bool = False
    installed: bool = False
    usual: tuple[str, ...] = ()


def sentence(error: BaseException | str) -> bool:
    """False, the answer to a refusal, after a look at its words."""
    text = str(error)
    assert text.strip(), "a refusal without words"
    assert "Traceback" not in text, text
    assert len(text) < 2000, f"a refusal of {len(text)} characters"
    return False


def _write(folder: Path, case: Case) -> Path:
    path = folder / case[0]
    path.write_bytes(case[1])
    return path


def read_import(folder: Path, case: Case) -> bool:
    """As an import reads it."""
    try:
        parsed = list(parse_rows(raw_rows(_write(folder, case)), "M", processes=1))
    except SourceError as error:
        return sentence(error)
    for records, problems in parsed:
        assert all(r.natoms > 0 and r.cell and r.formula and len(r.label) <= 210 for r in records)
        for problem in problems:
            sentence(problem.detail)
    return any(records for records, _ in parsed)


def read_start(_: Path, case: Case) -> bool:
    """As the page Modify reads what is pasted."""
    try:
        found = read_structures(case[1].decode("utf-8", "replace"), case[0], ("merge", "p1"))
    except StartError as error:
        return sentence(error)
    return any(f.structure is not None and not f.problem for f in found)


def read_a_hull(_: Path, case: Case) -> bool:
    from core.energy.hull import ConvexHull, HullError, Phase

    try:
        source = read_hull(case[1], case[0])
        ConvexHull(
            source.chemical_system,
            [Phase(p.label, p.composition, p.formation) for p in source.shaping],
        )
    except (HullFileError, HullError) as error:
        return sentence(error)
    return bool(source.phases)


def read_reply(folder: Path, case: Case) -> bool:
    """As a page of AFLOW's answer is read, then its entries as structures and as phases."""
    from core.data.aflow.client import AfluxError, _parse, _sort, _Stumble
    from core.energy.hull_aflow import read_entries

    try:
        page = _parse(case[1], 2)
    except (AfluxError, _Stumble) as error:
        return sentence(error)
    fresh, anonymous, _ = _sort(page.entries, set(), set())
    entries = [*fresh.values(), *anonymous]
    lines = b"".join(json.dumps(e).encode() + b"\n" for e in entries)
    taken = bool(lines) and read_import(folder, ("entries.jsonl", lines))
    try:
        read_entries(entries, "AFLOW")
    except HullFileError as error:
        return sentence(error) or taken
    return True


def read_results(folder: Path, case: Case) -> bool:
    """As results of VASP are read: files, packed or not, and zips of them."""
    place = folder / "place"
    place.mkdir(exist_ok=True)
    taken = False
    for found in unpacked(_write(folder, case), case[0], place):
        if found.path is None:
            sentence(found.problem)
            continue
        try:
            taken |= read_run(found.path).energy < 1e6
        except RunError as error:
            sentence(error)
    return taken


def read_elements(folder: Path, case: Case) -> bool:
    try:
        return bool(read_references(_write(folder, case), case[0]))
    except UserError as error:
        return sentence(error)


def read_manifest(folder: Path, case: Case) -> bool:
    try:
        return bool(recorded_run(_write(folder, case)))
    except UserError as error:
        return sentence(error)


def read_typed(_: Path, case: Case) -> bool:
    """What is typed into fields: compositions, space groups, energies, a question to AFLOW."""
    from core.data.aflow.query import check_summons
    from core.data.space_groups import SpaceGroupError, parse_groups
    from core.workflows.compositions import cells_of, split_formulas

    text = case[1].decode("utf-8", "replace")
    taken = False
    readers: list[tuple[Callable[[str], Any], type[Exception]]] = [
        (lambda t: cells_of(split_formulas(t)), UserError),
        (parse_groups, SpaceGroupError),
        (check_summons, ValueError),
    ]
    for reader, expected in readers:
        try:
            reader(text)
            taken = True
        except expected as error:
            if type(error) is not expected:
                raise
            sentence(error)
    return taken


def _named(name: str, *inputs: st.SearchStrategy[bytes]) -> st.SearchStrategy[Case]:
    return st.one_of(*inputs).map(lambda data: (name, data))


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def _extxyz() -> bytes:
    frames = io.StringIO()
    write_ase(frames, [AseAtomsAdaptor.get_atoms(TIB2)] * 2, format="extxyz")
    return frames.getvalue().encode()


def _csvs() -> list[bytes]:
    cif = CIF.replace('"', "'")
    aflow = {k: json.dumps(v) if isinstance(v, list) else str(v) for k, v in GOOD.items()}
    cells = ",".join('"' + v.replace('"', '""') + '"' for v in aflow.values())
    return [
        f'material_id,cif,formation_energy_per_atom\nm,"{cif}",-0.5\nn,"{cif}",x\n'.encode(),
        (",".join(aflow) + "\n" + cells + "\n").encode(),
    ]


@st.composite
def _parquets(draw: st.DrawFn) -> bytes:
    """Tables whose columns have the right names and any types; or one that was damaged."""
    values = [None, 1, -1.5, "x", CIF, [1.0, 2.0], ["B"], [[0.1, 0.2, 0.3]], True, {"a": 1}, 10**15, b"\xff", "[1, 2"]
    columns = {"cif": CIF, **{k: v for k, v in GOOD.items() if draw(st.booleans())}}
    if draw(st.booleans()):
        columns = dict(GOOD)
    for _ in range(draw(st.integers(0, 3))):
        columns[draw(st.sampled_from([*GOOD, "cif", "split", "natoms", "energies", "material_id"]))] = draw(
            st.sampled_from(values)
        )
    packed = io.BytesIO()
    table = {k: pa.array([v] * draw(st.sampled_from([1, 3])), from_pandas=True) for k, v in columns.items()}
    rows = min(len(v) for v in table.values())
    pq.write_table(pa.table({k: v[:rows] for k, v in table.items()}), packed)
    return draw(damaged([packed.getvalue()])) if draw(st.booleans()) else packed.getvalue()


@st.composite
def _zips(draw: st.DrawFn, members: dict[str, bytes]) -> bytes:
    """Damaged members in a whole zip, or a damaged zip; names that lead elsewhere."""
    inside = dict(members)
    for name in draw(st.lists(st.sampled_from(sorted(inside)), max_size=3, unique=True)):
        inside[name] = draw(damaged([inside[name]]))
    if draw(st.integers(0, 3)) == 0:
        odd = ["../../evil.cif", "/etc/evil.cif", "a/" * 60 + "x.cif", "x\x01.cif", "POSCAR\n", "x.zip", "a.cif"]
        inside[draw(st.sampled_from(odd))] = draw(st.sampled_from(sorted(members.values())))
    packed = zipped(inside)
    return draw(damaged([packed])) if draw(st.integers(0, 2)) == 0 else packed


def _runs() -> list[Run]:
    moved = TIB2.copy()
    moved.translate_sites([0], [0.01, 0, 0])
    return [Run([TIB2, moved], [-24.0, -24.5]), Run([TIB2], [-24.5], incar={"LDAU": ".TRUE.", "LDAUU": "3 0"}, nsw=0)]


def _structures(values: Sequence[Any]) -> st.SearchStrategy[bytes]:
    return st.one_of(odd_json(values), damaged([json.dumps(v).encode() for v in values]))


def parsers() -> dict[str, Parser]:
    """By name, in the order of the table that a run prints."""
    from tests.faults.model_parser import MODELS
    from tests.faults.query_parser import QUERIES

    return {**_structure_parsers(), **_other_parsers(), "models": MODELS, "queries": QUERIES}


def _structure_parsers() -> dict[str, Parser]:
    cif, poscar, xyz = CIF.encode(), Poscar(TIB2).get_str().encode(), _extxyz()
    whole = TIB2.as_dict()
    entry = {"structure": whole, "energy": -24.0, "entry_id": "mp-1", "parameters": {"run_type": "GGA"}}
    lines = json.dumps(GOOD).encode() + b"\n" + json.dumps({**GOOD, "auid": "b"}).encode() + b"\n"
    rest = "auid=aflow:1\ngeometry=3,3,3,90,90,120\npositions_fractional=0,0,0;0.3,0.6,0.5\nspecies=B,Ta\n"
    rest += "composition=1,1"
    files = {"a.cif": cif, "b/POSCAR": poscar, "c.extxyz": xyz, "d.json": json.dumps(whole).encode(), "read.txt": b"x"}
    columns = ["3\n", 'Lattice="', "Properties=species:S:1:pos:R:3"]
    inputs = {
        "cif": _named("x.cif", damaged([cif]), worded(CIF_WORDS)),
        "poscar": _named("POSCAR", damaged([poscar]), worded(["Ti", "B", "Direct\n", "1 2\n"])),
        "extxyz": _named("x.extxyz", damaged([xyz]), worded(columns)),
        "json lines": _named("x.jsonl", _structures([GOOD]), damaged([lines])),
        "csv": _named("x.csv", damaged(_csvs())),
        "parquet": _named("x.parquet", _parquets()),
        "pymatgen json": _named("x.json", _structures([whole, entry, [whole, entry], {"entries": WEB_ENTRIES}])),
        "aflow text": _named("x.out", damaged([rest.encode()]), worded(rest.split("\n"))),
        "zip": _named("x.zip", _zips(files)),
    }
    pasted = st.one_of(
        inputs["cif"],
        _named("x", damaged([cif, poscar, xyz])),
        _named("POSCAR", damaged([poscar])),
        _named("x.extxyz", damaged([xyz])),
        _named("x.json", _structures([whole, GOOD, [whole, GOOD]])),
    )
    found = {name: Parser(some, read_import, 2.0 if name == "cif" else 1.0) for name, some in inputs.items()}
    return {**found, "pasted": Parser(pasted, read_start)}


def _other_parsers() -> dict[str, Parser]:
    replies = [WEB_ENTRIES, {f"{i + 1} of 2": e for i, e in enumerate(WEB_ENTRIES)}]
    own = {"chemical_system": "B-Ta", "method": "M", "entries": [{**GOOD, "enthalpy_formation_atom": -0.5}]}
    table = b"formula,formation_energy,label,method\nTaB2,-0.5,a,M\nTaB,-0.4,b,M\n"
    hulls = st.one_of(_named("h.json", _structures([NHULL, CHULL, WEB, own])), _named("h.csv", damaged([table])))
    xmls, outcars = [vasprun(r).encode() for r in _runs()], [outcar(r).encode() for r in _runs()]
    packed = gzip.compress(outcars[0])
    results = st.one_of(
        _named("vasprun.xml", damaged(xmls)),
        _named("OUTCAR", damaged(outcars)),
        _named("OUTCAR.gz", damaged([packed])),
        _named("r.zip", _zips({"1/vasprun.xml": xmls[0], "2/OUTCAR": outcars[1], "3/OUTCAR.gz": packed})),
    )
    energies = {"B": -6.7, "Ta": -11.8}
    elements = st.one_of(
        _named("r.json", _structures([{"method": "VASP", "energies": energies}, energies])),
        _named("r.csv", damaged([b"element,energy\nB,-6.7\nTa,-11.8\n"])),
    )
    manifest = {"runs": {"1": {"kind": "generate", "params": {"model": "m", "hull": 1}, "hull": {"name": "h"}}}}
    manifests = st.one_of(
        _named("manifest.json", _structures([manifest])),
        _named("b.zip", _zips({"manifest.json": json.dumps(manifest).encode()})),
    )
    words = ["Ta1W1B6", "TaB2", "Ca(OH)2", "cubic", "6-10", "P6/mmm", "species((B:Ta))", "nspecies(2*,*3)", "$", "Qq"]
    texts = [*words, "Ta2W2B12, TaB2; VB2", "enthalpy_formation_atom(-1*,*0),paging(1)"]
    return {
        "hull": Parser(hulls, read_a_hull),
        "aflux": Parser(_named("reply", _structures(replies)), read_reply),
        "vasp": Parser(results, read_results),
        "references": Parser(elements, read_elements, 0.5),
        "manifest": Parser(manifests, read_manifest, 0.5, True),
        "typed": Parser(_named("text", damaged([t.encode() for t in texts]), worded(words)), read_typed),
    }
