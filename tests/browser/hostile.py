"""A store in which everything that a user can write is an attack."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

from core.settings import ASSETS
from core.workflows import hulls, models
from core.workflows.generate import GenerateParams
from core.workflows.imports import ImportParams, import_files
from core.workflows.store import store
from db import candidates as rows
from db import jobs
from db.tables import Model
from tests.conftest import TestContext
from tests.data.test_readers import GOOD, TIB2, cif_of

SCRIPT = "</script><script>window.__pwned=1</script>"
IMAGE = '<img src=x onerror="window.__pwned=1"><svg onload=window.__pwned=1>'
MARKDOWN = (
    "![i](http://evil.test/i.png) [l](javascript:window.__pwned=1) $\\href{javascript:window.__pwned=1}{x}$ "
    ":red[hot] :material/home: :streamlit: :smile: `c` **b** &lt;u&gt; http://evil.test"
)
ATTACK = f"{SCRIPT}{IMAGE}{MARKDOWN}"
UNSEEN = "\u202egpj.exe\u202c\x00"  # a turned direction and a NUL; SQLite keeps both
FORMULA = "=HYPERLINK('http://evil.test')"


def fill(folder: Path) -> dict[str, int]:
    """Write it into the store that the settings name; returns the numbers of what can be opened."""
    jobs_made = _jobs()
    _import(folder)
    hull = _hull(folder)
    _model()
    _candidates(jobs_made["done"])
    return {**jobs_made, "hull": hull}


def _import(folder: Path) -> None:
    path = folder / "x.cif"
    block = cif_of(TIB2).replace("data_TiB2", f"data_{IMAGE.replace(' ', '')}").replace("Ti0", "Ti<b>")
    path.write_text(f"# {ATTACK}\n{block}")
    lines = folder / "y.jsonl"
    broken = {**GOOD, "auid": ATTACK, "species": [IMAGE, "Ta"]}
    lines.write_text("\n".join(json.dumps(r) for r in ({**GOOD, "auid": ATTACK + UNSEEN}, broken)) + "\n")
    notes = (("terms", ATTACK), ("citation", ATTACK), ("summons", ATTACK))
    uploads = (f"{IMAGE}.cif".replace("/", "|"), f"{MARKDOWN}.jsonl".replace("/", "|"))
    files = []
    for source in (path, lines):  # an import takes its uploads away
        copy = folder / f"{source.stem}-upload"
        copy.write_bytes(source.read_bytes())
        files.append(str(copy))
    params = ImportParams(tuple(files), "hostile", ATTACK[:64], ATTACK, uploads, notes)
    import_files(params, TestContext(folder / "job"))


def _hull(folder: Path) -> int:
    with (folder / "h.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["formula", "formation_energy", "label", "method", "name", "source"])
        writer.writerow(["TaB2", -0.5, ATTACK, MARKDOWN, IMAGE, ATTACK])
        writer.writerow(["TaB", -0.4, FORMULA, MARKDOWN, IMAGE, ATTACK])
    return hulls.import_hull(folder / "h.csv").row.id


def _model() -> None:
    """Names of models are checked; this one came past that."""
    source = ASSETS / "models" / "starter-generator"
    card = json.loads((source / "card.json").read_text())
    card |= dict.fromkeys(("about", "licence", "not_good_for", "measured_on", "device", "made"), ATTACK)
    shipped = models.get_model("starter-generator")
    with store().session() as session:
        values = {"task": "generation", "hash": shipped.hash, "folder": str(source), "card": card}
        session.add(Model(name=MARKDOWN, energy_method=MARKDOWN[:64], **values))


def _jobs() -> dict[str, int]:
    made = {}
    params = asdict(GenerateParams(MARKDOWN, (ATTACK,), count=1))
    with store().session() as session:
        for kind, status in (("generate", "done"), ("import", "failed"), ("relax", "cancelled"), ("train", "failed")):
            given = params if kind == "generate" else {"name": ATTACK, "files": [ATTACK], "model": MARKDOWN}
            job_id = jobs.add_job(session, kind=kind, title=ATTACK, params=given, device="cpu", owner=ATTACK)
            jobs.update_job(session, job_id, message=ATTACK, folder=f"/nowhere/{job_id}")
            jobs.change_status(session, job_id, "queued", status, error=ATTACK if status == "failed" else "")
            made[status if status not in made else kind] = job_id
    return made


def _candidates(job_id: int) -> None:
    from core.crystals import from_structures, pack_cells

    cell = pack_cells(from_structures([TIB2]))[0]
    known = {"formula": "Ti1B2", "reduced_formula": "TiB2", "chemical_system": "B-Ti", "natoms": 3, "cell": cell}
    known |= {"valid": True, "energy_method": MARKDOWN, "novelty": {ATTACK: True}, "unique": True, "novel": True}
    known |= {"job_id": job_id, "model": MARKDOWN, "note": ATTACK + FORMULA, "series": MARKDOWN[:64]}
    with store().session() as session:
        rows.add_candidates(session, [{**known, "index": 0}, {**known, "index": 1, "valid": False, "problem": ATTACK}])
        for candidate in rows.page_candidates(session, rows.CandidateFilter(job_id=job_id)):
            values = {"status": IMAGE[:32], "formation_after": -0.4, "formation_before": -0.1, "cell": cell}
            rows.put_relaxation(session, candidate_id=candidate.id, method=MARKDOWN[:64], **values)
