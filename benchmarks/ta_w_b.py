"""The paper's experiment with any method: three compositions of Ta, W and B, three ladders, 19 groups; on one hull.

    python -m benchmarks.ta_w_b --store DIR --method NAME [--every 1] [--count 1] [--groups 12 65 …] [--processes 1]
        [--sites DATASET] [--out DIR]

NAME is a network of the store or substitution:DATASET, such as substitution:mp_templates: every structure of
mp_polymorphs with an energy of the first release (all serve as templates here, none is held out), which is imported
with its hull of B-Ta-W where it is missing. Candidates are drawn, judged, relaxed with M3GNet and placed on the hull
by M3GNet that ships, by the workflow behind `generate --experiment ta-w-b`, as a job of the store: interrupted, the
same command goes on. Writes ta-w-b-NAME.md (numbers), .svg and .png (plot) and .csv (every candidate) to --out.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from core.workflows.context import UserError

SYSTEM, POTENTIAL = "B-Ta-W", "m3gnet"
TEMPLATES = "mp_templates"
SAME = 0.001  # eV/atom: nearer than this to the hull is on it


def prepare(dataset: str) -> None:
    """The dataset of all of mp_polymorphs by one method, and its hull, where they are missing. Raises UserError."""
    from benchmarks.quality import Printed
    from benchmarks.quality_rows import MP_METHODS
    from benchmarks.quality_rows import prepare as prepare_row
    from core.settings import settings
    from core.workflows.datasets import BuildParams, build_dataset, list_datasets
    from core.workflows.hulls import own_hull
    from core.workflows.hulls_build import BuildHullParams, build_hull

    context = Printed(settings().var / "ta-w-b", "cpu", dataset)
    if dataset != TEMPLATES:
        prepare_row(dataset, None, context)
        return
    prepare_row("mp", None, context)
    if TEMPLATES not in {d.name for d in list_datasets()}:
        params = BuildParams(
            imports=("mp_polymorphs",), name=TEMPLATES, methods=MP_METHODS[:1], split=0.0, own_split=False
        )
        build_dataset(params, context)
    if own_hull(SYSTEM, MP_METHODS[0]) is None:
        build_hull(BuildHullParams(TEMPLATES, SYSTEM, MP_METHODS[0]), context)


def params_of(asked: argparse.Namespace) -> Any:
    """The experiment's params as a job takes them. Raises UserError."""
    from core.workflows.evaluate import usual_steps
    from core.workflows.experiments import FORMULAS, PAPER_GROUPS, TA_W_B
    from core.workflows.generate import GenerateParams, check_params

    return check_params(
        GenerateParams(
            asked.method, FORMULAS, tuple(asked.groups) or PAPER_GROUPS, count=asked.count,
            steps=asked.steps or usual_steps(asked.method), seed=asked.seed, ladders=(1, 2, 3), every=asked.every,
            experiment=TA_W_B, potential=POTENTIAL, keep_symmetry=asked.keep_symmetry, processes=asked.processes,
            hold_group=not asked.free_group, sites=asked.sites,
        )
    )  # fmt: skip


def finished(params: Any, device: str) -> Any:
    """The job that has done this, begun, resumed or waited for. Raises UserError where it ends without."""
    from core.jobs import queue
    from core.workflows.experiments import runs_of

    wanted = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(params).items()}
    found = next((job for job in runs_of() if job.params == wanted), None)
    job_id = found.id if found else queue.submit("generate", f"Ta-W-B with {params.model}"[:200], params, device)
    if found and queue.can_resume(found):
        queue.resume(job_id)
    last = [0.0]

    def tell(job: Any) -> None:
        if time.monotonic() - last[0] > 15:
            last[0] = time.monotonic()
            print(f"job {job.id}: {100 * (job.progress or 0):.1f} % {job.message}, {job.eta_s or 0:.0f} s", flush=True)

    job = queue.follow(job_id, tell, poll_s=1.0)
    if job.status != "done":
        raise UserError(f"Job {job_id} was {job.status}: {job.error or 'the same command goes on'}")
    return job


def candidates_of(job: Any) -> pd.DataFrame:
    """A row for each candidate that was relaxed: above and asked are meV/atom from the hull, asked from the model's."""
    from core.data.formulas import parse_formula
    from core.workflows.chain import hull_for
    from core.workflows.experiments import UNITS
    from core.workflows.relax import method_of
    from core.workflows.store import store
    from db import candidates as rows
    from db import chains

    method = method_of(POTENTIAL)
    view = hull_for(SYSTEM, method)
    if view is None:
        raise UserError(f"There is no hull of {SYSTEM} by {method}.")
    levels = dict(zip(UNITS, job.params["levels"], strict=True))
    with store().session() as session:
        energies = chains.run_energies(session, job.id, method)
        found = {e.id: e.formation_after for e in energies if e.formation_after is not None}
        drawn = rows.get_candidates(session, list(found))
        relaxed = {r.candidate_id: r for r in rows.relaxations(session, list(found), method)}
    above = view.hull.above_of([parse_formula(c.formula) for c in drawn], [found[c.id] for c in drawn])
    return pd.DataFrame(
        [
            {
                "formula": _unit(c), "ladder": c.series, "asked": 1000 * (c.energy_asked - levels[_unit(c)]),
                "above": 1000 * a, "group asked": c.group_asked, "group": relaxed[c.id].group_found or 0,
                "status": relaxed[c.id].status, "candidate": f"{c.job_id}-{c.index}", "id": c.id,
            }
            for c, a in zip(drawn, above, strict=True)
        ]
    )  # fmt: skip


def _unit(candidate: Any) -> str:
    from core.data.formulas import formula_unit, parse_formula

    return formula_unit(parse_formula(candidate.formula))


def distinct(data: pd.DataFrame, most: int = 60) -> pd.DataFrame:
    """The lowest of each structure, by the paper's matcher on the relaxed cells, of the `most` lowest of each formula.

    Candidates of the very same energy are the very same cell, relaxed once. times: candidates that are this structure
    """
    from core.crystals import to_structures, unpack_cells
    from core.evaluation.matching import first_match
    from core.workflows.relax import method_of
    from core.workflows.store import store
    from db import candidates as rows

    kept: list[dict[str, Any]] = []
    for _, group in data.groupby("formula"):
        alike = group["above"].value_counts()
        lowest = group.sort_values("above").drop_duplicates("above").head(most)
        with store().session() as session:
            relaxed = rows.relaxations(session, lowest["id"].tolist(), method_of(POTENTIAL))
            cells = {r.candidate_id: r.cell for r in relaxed if r.cell}
        mine: list[tuple[Any, dict[str, Any]]] = []
        for row in lowest.to_dict("records"):
            structure = to_structures(unpack_cells([cells[row["id"]]]))[0]
            same = first_match(structure, [s for s, _ in mine])
            if same is None:
                mine.append((structure, row | {"times": int(alike[row["above"]])}))
            else:
                mine[same][1]["times"] += int(alike[row["above"]])
        kept += [row for _, row in mine]
    return pd.DataFrame(kept).sort_values("above")


def chart(data: pd.DataFrame, title: str) -> Any:
    """Each composition: what was asked for against what the relaxed candidate has, both from the hull."""
    import altair as alt

    shown = data[data["above"] <= 1000]
    x = alt.X("asked:Q", title="asked: meV/atom from the hull")
    y = alt.Y("above:Q", title="relaxed: meV/atom above the hull")
    colour = alt.Color("ladder:N", title=None, scale=alt.Scale(range=["#2a78d6", "#eb6834", "#1baf7a"]))
    points = alt.Chart(shown).mark_circle(size=26, opacity=0.5).encode(x=x, y=y, color=colour)
    line = alt.Chart(shown).mark_rule(color="#555").encode(y=alt.datum(0))
    layers = alt.layer(line, points).properties(width=260, height=260)
    return layers.facet(alt.Facet("formula:N", title=None), columns=3, title=title).configure(background="white")


def report(data: pd.DataFrame, job: Any, params: Any, structures: pd.DataFrame) -> str:
    """The numbers as Markdown."""
    from core.data.symmetry import named
    from core.workflows.chain import new_of
    from core.workflows.experiments import PAPER_FOUND

    took = (job.finished_at or 0) - (job.started_at or 0)
    result = job.result
    lines = [
        f"## {params.model}", "",
        f"`python -m benchmarks.ta_w_b --method {params.model} --every {params.every} --count {params.count}"
        f"{f' --sites {params.sites}' if params.sites else ''}`, "
        f"{time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} cores, {params.processes} relaxing.", "",
        f"{result['candidates']:,} candidates asked for and drawn, {result['valid']:,} valid, {result['unique']:,} "
        f"unique, {new_of(result['novel'])}; {result['relaxed']:,} relaxed with {result['method']}, "
        f"{result['failed']:,} failed; {took / 60:.0f} minutes, everything together. On the hull "
        f"{', '.join(result['hulls'].values())}: "
        f"{int((data['above'] < -1000 * SAME).sum())} below it by more than {1000 * SAME:g} meV/atom.", "",
        "| composition | ladder | relaxed | below the hull | lowest, meV/atom above | its group | candidate |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for (formula, ladder), part in data.groupby(["formula", "ladder"]):
        best = part.loc[part["above"].idxmin()]
        below = int((part["above"] < -1000 * SAME).sum())
        values = (
            formula,
            ladder,
            len(part),
            below,
            f"{best['above']:.1f}",
            named(int(best["group"])),
            best["candidate"],
        )
        lines.append("| " + " | ".join(map(str, values)) + " |")
    lines += [
        "", "The lowest distinct structures (paper matcher, relaxed):", "",
        "| composition | meV/atom above | group | found | by | candidate |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in structures.groupby("formula").head(4).to_dict("records"):
        cells = (
            row["formula"], f"{row['above']:.1f}", named(int(row["group"])), f"{row['times']} times", row["ladder"],
            row["candidate"],
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    paper = "; ".join(f"{m}, ladder {ladder}, {unit} {v:.3f}" for m, ladder, unit, v in PAPER_FOUND)
    return "\n".join([*lines, "", f"The paper, by VASP on AFLOW's hull, meV/atom: {paper}."]) + "\n"


def write(folder: Path, name: str, data: pd.DataFrame, picture: Any, text: str) -> None:
    """The four files."""
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    stem = folder / f"ta-w-b-{plain}"
    data.drop(columns="id").round(3).to_csv(f"{stem}.csv", index=False)
    Path(f"{stem}.svg").write_text(vl_convert.vegalite_to_svg(picture.to_dict()))
    Path(f"{stem}.png").write_bytes(vl_convert.vegalite_to_png(picture.to_dict(), scale=2))
    Path(f"{stem}.md").write_text(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--every", type=int, default=1, help="of a ladder's 21 energies every so manyth")
    parser.add_argument("--count", type=int, default=1, help="candidates for each composition, group and energy")
    parser.add_argument("--groups", type=int, nargs="+", default=[], help="some of the 19 space groups")
    parser.add_argument("--steps", type=int)
    parser.add_argument(
        "--sites", default="", metavar="DATASET", help="whose sites a network's held candidates start on"
    )
    parser.add_argument("--free-group", action="store_true", help="a network does not hold the space group")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-symmetry", action="store_true", help="of the group found, while relaxing")
    parser.add_argument("--processes", type=int, default=1, help="cores to share the relaxations")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("."))
    asked = parser.parse_args(arguments)
    os.environ["SUBHULL_VAR"] = str(asked.store.resolve())
    asked.store.mkdir(parents=True, exist_ok=True)
    from core.workflows import starter

    starter.install()
    try:
        for dataset in {*asked.method.split(":")[1:][-1:], asked.sites} - {""}:
            prepare(dataset)
        params = params_of(asked)
        job = finished(params, asked.device)
        data = candidates_of(job)
        if data.empty:
            raise UserError("No candidate could be relaxed.")
    except UserError as error:
        raise SystemExit(str(error)) from error
    text = report(data, job, params, distinct(data))
    write(asked.out, asked.method, data, chart(data, asked.method), text)
    print(text)


if __name__ == "__main__":
    main()
