"""The frame of every page: navigation with absolute paths, so that a page opens cold by its URL inside it."""

from __future__ import annotations

import streamlit as st

from core.settings import ASSETS, ROOT
from core.ui.frame import frame

PAGES = ROOT / "pages"

st.set_page_config(page_title="Subhull", page_icon=str(ASSETS / "icon.svg"), layout="wide")
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
        "Work": [st.Page(PAGES / "jobs.py", title="Jobs", icon=":material/work_history:")],
    }
)
frame()
page.run()
