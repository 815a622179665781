"""The frame of every page: navigation with absolute paths, so that a page opens cold by its URL inside it."""

from __future__ import annotations

import streamlit as st

from core.settings import ASSETS, ROOT, accounts
from core.ui.accounts import install, let_in
from core.ui.frame import frame
from core.workflows.acting import ADMIN, acting

PAGES = ROOT / "pages"

st.set_page_config(page_title="Subhull", page_icon=str(ASSETS / "icon.svg"), layout="wide")
install()
if not let_in():  # before the names of the pages are sent
    st.stop()
work = [st.Page(PAGES / "jobs.py", title="Jobs", icon=":material/work_history:")]
if accounts() is not None and acting().may(ADMIN):
    work.append(st.Page(PAGES / "people.py", title="People", icon=":material/group:"))
page = st.navigation(
    {
        "": [st.Page(PAGES / "home.py", title="Home", icon=":material/home:", default=True)],
        "Learn": [
            st.Page(PAGES / "datasets.py", title="Datasets", icon=":material/dataset:"),
            st.Page(PAGES / "train.py", title="Train", icon=":material/model_training:"),
            st.Page(PAGES / "models.py", title="Models", icon=":material/neurology:"),
        ],
        "Design": [
            st.Page(PAGES / "generate.py", title="Generate", icon=":material/auto_awesome:"),
            st.Page(PAGES / "modify.py", title="Modify", icon=":material/transform:"),
            st.Page(PAGES / "candidates.py", title="Candidates", icon=":material/diamond:"),
            st.Page(PAGES / "hulls.py", title="Hulls", icon=":material/change_history:"),
        ],
        "Work": work,
    }
)
frame()
page.run()
