"""Hulls: list, bring in, look, compare, take home."""

import streamlit as st

from core.jobs import queue
from core.ui.hull_add import aflow_form, dataset_form, file_form
from core.ui.hull_compare import show_comparison
from core.ui.hull_page import export_row, hulls_table, show_about, show_parts
from core.ui.permits import owners_button
from core.ui.widgets import go, header, segments, selected, selected_int, sentences, watch_job
from core.workflows.hulls import delete_hull, get_hull_by_id, list_hulls

FORMS = {"file": ("File", file_form), "dataset": ("Dataset", dataset_form), "aflow": ("AFLOW", aflow_form)}

header("Hulls", "The known phases of a chemical system by one method: what a candidate has to beat.")
hulls = list_hulls()
with st.expander("New hull", icon=":material/add_circle:", expanded=not hulls or selected("new") in FORMS):
    form = segments("From", {key: label for key, (label, _) in FORMS.items()}, "new")
    FORMS[form][1]()

job_id = selected_int("job")
if job_id is not None:
    watch_job(job_id, "hull")
    with sentences():
        made = (queue.get(job_id).result or {}).get("hull_id")
        if made and made != selected_int("hull") and st.button("Show the hull", icon=":material/visibility:"):
            go("*", hull=made)
if not hulls:
    st.info("No hull yet. Bring one in above.", icon=":material/change_history:")
    st.stop()
wanted = selected_int("hull")
hull = next((h for h in hulls if h.id == wanted), hulls[0])
if selected("hull") and hull.id != wanted:
    st.warning("The link names a hull that is not here; another one is shown.", icon=":material/info:")
hulls_table(hulls, hull.id)
with sentences():
    view = get_hull_by_id(hull.id)
    show_about(view)
    show_parts(view)
    export_row(view)
    show_comparison(view)
    with st.popover("Delete this hull", icon=":material/delete:"):
        st.write("Candidates stay; their place on this hull is gone.")
        if owners_button("Delete", "The hull", hull):
            delete_hull(hull.id)
            go("*")
