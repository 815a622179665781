"""Every job: what runs, what waits, what ended and why."""

import pandas as pd
import streamlit as st

from core.jobs import queue
from core.settings import accounts
from core.ui.job_result import job_result
from core.ui.widgets import ago, go, header, job_log, pages, selected_int, sentences, watch_job
from core.workflows.store import store
from db import jobs as rows

header("Jobs", "Work in processes of its own: it goes on when this tab or the server closes.")
PAGE = 25

job_id = selected_int("job")
if job_id is not None:
    with sentences():
        job = queue.get(job_id)
        watch_job(job_id, "job")
        job_result(job)
        job_log(job)
        with st.expander("Parameters and result"):
            st.json({"parameters": job.params, "result": job.result, "attempts": job.attempts, "owner": job.owner})
    if st.button("All jobs", icon=":material/arrow_back:"):
        go("*")
    st.stop()

with store().session() as session:
    active = rows.list_jobs(session, rows.ACTIVE, limit=20)
    total = rows.count_jobs(session)
for job in active:
    watch_job(job.id, f"job-{job.id}")
if not total:
    st.info("No job yet. Importing, training, generating and relaxing each start one.", icon=":material/work_history:")
    st.stop()

st.subheader("All jobs")
offset = pages(total, PAGE, "page")
with store().session() as session:
    listed = rows.list_jobs(session, limit=PAGE, offset=offset)
table = pd.DataFrame(
    [(j.id, j.title, j.status, ago(j.created_at), j.owner, j.device, j.error or j.message) for j in listed],
    columns=["job", "what", "status", "submitted", "of", "device", "message"],
)
if accounts() is None:
    table = table.drop(columns="of")
event = st.dataframe(
    table, hide_index=True, on_select="rerun", selection_mode="single-row", key="jobs", alt="Jobs; select one"
)
st.caption("Select a row to open the job.")
chosen = event["selection"]["rows"]
if chosen:
    go(job=listed[chosen[0]].id)
