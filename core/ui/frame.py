"""What stands around every page: the name and, while jobs run, how many."""

from __future__ import annotations

import streamlit as st

from core.settings import ASSETS
from core.ui.assets import present
from core.workflows.store import store
from db.jobs import count_jobs

_STYLE = "<style>.block-container { padding-top: 3rem; max-width: 1240px; }</style>"


def frame() -> None:
    """The sidebar and the style of all pages."""
    st.html(_STYLE)
    st.logo(str(ASSETS / "icon.png"), size="large")
    with st.sidebar:
        with store().session() as session:
            running, queued = count_jobs(session, ["running"]), count_jobs(session, ["queued"])
        if running or queued:
            waiting = f", {queued} waiting" if queued else ""
            st.caption(f":material/progress_activity: {running} job{'s' * (running != 1)} running{waiting}")
        if not present():
            st.caption(":material/warning: 3Dmol.js is missing: `./run app` fetches it when the internet is there.")
