"""What is there, and one clear next step."""

import streamlit as st

from core.ui.text import plain
from core.ui.widgets import header, job_card, page, watch_job
from core.workflows.overview import overview

header("Subhull", "Learn from known crystals, draw new ones, relax them, and see which fall below the hull.")
now = overview()

columns = st.columns(4)
columns[0].metric("structures", f"{now.structures:,}", help="in all datasets")
columns[1].metric("models", now.models)
columns[2].metric("candidates", f"{now.candidates:,}")
columns[3].metric("hulls", now.hulls)

with st.container(border=True):
    st.markdown(f"**Next: {now.step.title}**  \n{now.step.why}")
    st.page_link(page(now.step.page), label=now.step.action, icon=":material/arrow_forward:")

if now.active:
    st.subheader("Running")
    for job in now.active:
        watch_job(job.id, f"home-{job.id}")

left, right = st.columns(2, gap="large")
with left:
    st.subheader("Datasets")
    for dataset in now.datasets:
        s = dataset.summary
        st.page_link(page("datasets"), label=f"**{plain(dataset.name)}**", query_params={"dataset": dataset.name})
        st.caption(f"{s['structures']:,} structures, {s['formulas']:,} formulas, {', '.join(list(s['elements'])[:10])}")
    if not now.datasets:
        st.caption("None yet: import files on the page Datasets.")
    st.subheader("Hulls")
    for hull in now.hull_rows:
        label = f"{hull.chemical_system} by {plain(hull.method)}"
        st.page_link(page("hulls"), label=label, query_params={"hull": str(hull.id)})
with right:
    st.subheader("Pre-relaxation")
    st.markdown(f"Candidates are relaxed with **{now.potential.method}**.")
    if now.missing:
        st.caption(f"{now.missing.method} is not used: {now.missing.problem}.")
    st.subheader("Latest jobs")
    for job in now.ended:
        if job.status == "failed":
            job_card(job, f"ended-{job.id}")
        else:
            st.page_link(page("jobs"), label=f"{plain(job.title)} ({job.status})", query_params={"job": str(job.id)})
    if not now.ended:
        st.caption("No job has ended yet.")
