"""Candidates: choose, relax, see against the hull, take home."""

import streamlit as st

from core.ui.candidate_page import show_candidates
from core.ui.widgets import header, page
from core.workflows.candidates import count
from db.candidate_lists import CandidateFilter

header("Candidates", "Everything the models drew: relax it, place it on a hull, compare it, take it home.")
if not count(CandidateFilter()) and not count(CandidateFilter(deleted=True)):
    st.info("No candidate yet.", icon=":material/diamond:")
    st.page_link(page("generate"), label="Generate some", icon=":material/arrow_forward:")
    st.stop()
show_candidates()
