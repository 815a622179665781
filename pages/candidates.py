"""Candidates: choose, relax, see against the hull, take home."""

from collections import Counter

import streamlit as st

from core.ui.candidate_view import PAGE, candidate_table, show_candidate
from core.ui.hull_view import show_hull
from core.ui.relax_form import relax_form
from core.ui.vasp_view import vasp_panel, vasp_report
from core.ui.widgets import go, header, page, pages, plain, selected, selected_int, watch_job
from core.workflows.export import bundle_zip
from core.workflows.hulls import get_hull_by_id, hull_systems_for, place_candidates
from core.workflows.relax import potential_choices
from core.workflows.store import store
from db import candidates as rows

header("Candidates", "What the models drew: relax it, place it on a hull, take it home.")
with store().session() as session:
    runs = rows.runs(session)
if not runs:
    st.info("No candidate yet.", icon=":material/diamond:")
    st.page_link(page("generate"), label="Generate some", icon=":material/arrow_forward:")
    st.stop()

labels = {None: "all runs"} | {job: f"run {job}: {model}, {count:,} candidates" for job, model, count in runs}
wanted_run = selected_int("run")
left, middle, right = st.columns([3, 2, 1], vertical_alignment="bottom")
run = left.selectbox(
    "Run",
    list(labels),
    format_func=labels.__getitem__,
    index=list(labels).index(wanted_run) if wanted_run in labels else 0,
)
if run is None:
    st.query_params.pop("run", None)
else:
    st.query_params["run"] = str(run)
with store().session() as session:
    systems = rows.chemical_systems(session)
system = middle.selectbox("Chemical system", ["all", *systems])
only_valid = right.toggle("Valid only", True)
wanted = rows.CandidateFilter(job_id=run, chemical_system=None if system == "all" else system, valid_only=only_valid)
with store().session() as session:
    total = rows.count_candidates(session, wanted)
if not total:
    st.info("No candidate passes these filters.", icon=":material/filter_alt:")
    st.stop()
offset = pages(total, PAGE, "rows")
with store().session() as session:
    listed = rows.page_candidates(session, wanted, PAGE, offset)

usable = [c for c in potential_choices() if not c.problem]
hulls = {h.id: h for s in sorted({c.chemical_system for c in listed}) for h in hull_systems_for(s)}
preferred = sorted(hulls.values(), key=lambda h: (h.method != usable[0].method, h.id))
hull_id = st.selectbox(
    "Hull",
    [h.id for h in preferred],
    format_func=lambda i: f"{hulls[i].chemical_system} by {hulls[i].method}",
    placeholder="no hull holds these elements",
    help="A candidate is placed by its relaxation with the hull's own method; energies of two methods never meet.",
)
view = get_hull_by_id(hull_id) if hull_id is not None else None
placed = {p.candidate.id: p for p in place_candidates([c.id for c in listed], view)}

chosen = candidate_table(listed, f"candidates-{run}-{system}-{only_valid}-{offset}", placed, multiple=True)
picked = [listed[i] for i in chosen] or [c for c in listed if c.valid]
scope = f"{len(picked)} selected" if chosen else f"all {len(picked)} valid ones of this page (select rows for fewer)"
st.caption(f"Actions below are for {scope}.")

relaxing, taking = st.columns(2, gap="large")
with relaxing, st.container(border=True):
    relax_form([c.id for c in picked])
with taking, st.container(border=True):
    st.markdown("**Take home**")
    st.caption("A zip of CIFs (as generated and relaxed), candidates.csv, candidates.extxyz and manifest.json.")
    st.download_button(
        f"Download {len(picked)}",
        data=lambda: bundle_zip([c.id for c in picked], view),
        file_name="candidates.zip",
        mime="application/zip",
        on_click="ignore",
        icon=":material/download:",
        disabled=not picked,
    )

vasp_panel([c.id for c in picked], view.row.method if view is not None else "")

job_id = selected_int("job")
if job_id is not None:
    watch_job(job_id, "relax")
    vasp_report(job_id)

if view is not None:
    shown = [placed[c.id] for c in picked if placed[c.id].place]
    if (hit := show_hull(view, shown)) and hit != selected("candidate"):
        go(candidate=hit)
for problem, count in Counter(placed[c.id].problem for c in picked if placed[c.id].problem).items():
    st.caption(f"Not placed: {count} {plain(problem)}.")

if picked:
    st.subheader("In 3D")
    names = {c.id: f"{c.job_id}-{c.index} {c.formula}" for c in picked}
    clicked = selected_int("candidate")  # in the plot
    first = list(names).index(clicked) if clicked in names else 0
    one = st.selectbox("Candidate", list(names), first, format_func=names.__getitem__, key=f"one-{clicked}")
    candidate = next(c for c in picked if c.id == one)
    show_candidate(candidate, placed[one].relaxation)
