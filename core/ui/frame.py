"""What stands around every page: the name and, while jobs run, how many."""

from __future__ import annotations

import streamlit as st

from core.ui.assets import present
from core.workflows.store import store
from db.jobs import count_jobs

_STYLE = """
<style>
.block-container { padding-top: 3.2rem; padding-bottom: 4rem; max-width: 1280px; }
h1 { font-weight: 600; letter-spacing: -0.01em; font-size: 1.9rem; padding-bottom: 0.2rem; }
h2 { font-size: 1.25rem; font-weight: 600; } h3 { font-size: 1.05rem; font-weight: 600; }
[data-testid="stMetricValue"] { font-size: 1.45rem; font-variant-numeric: tabular-nums; }
[data-testid="stMetricLabel"] p { font-size: 0.82rem; opacity: 0.75; }
</style>
"""


def frame() -> None:
    """The sidebar and the style of all pages."""
    st.html(_STYLE)
    with st.sidebar:
        st.markdown("**Subhull**  \n:small[crystals below the hull]")
        with store().session() as session:
            running, queued = count_jobs(session, ["running"]), count_jobs(session, ["queued"])
        if running or queued:
            waiting = f", {queued} waiting" if queued else ""
            st.caption(f":material/progress_activity: {running} job{'s' * (running != 1)} running{waiting}")
        if not present():
            st.caption(":material/warning: 3Dmol.js is missing: `./run app` fetches it when the internet is there.")
