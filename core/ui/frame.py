"""What stands around every page: the name and, while jobs run, how many."""

from __future__ import annotations

import streamlit as st

from core.settings import ASSETS
from core.ui.accounts import EXPOSED, is_exposed, who_bar
from core.ui.assets import present
from core.workflows.store import store
from db.jobs import count_jobs

# The contrast that WCAG asks for (4.5:1): Streamlit's captions are paler, and its primary buttons white on light blue
_STYLE = """<style>
.block-container { padding-top: 3rem; max-width: 1240px; }
div[data-testid="stCaptionContainer"] { opacity: 0.8; }
div[data-testid="stCaptionContainer"] code { color: inherit; }
button[kind^="primary"] { color: light-dark(#ffffff, #10181c); }
</style>"""


def frame() -> None:
    """The sidebar and the style of all pages."""
    st.html(_STYLE)
    st.logo(str(ASSETS / "icon.svg"), size="large")
    with st.sidebar:
        who_bar()
        if is_exposed():
            st.warning(EXPOSED, icon=":material/lock_open:")
        with store().session() as session:
            running, queued = count_jobs(session, ["running"]), count_jobs(session, ["queued"])
        if running or queued:
            waiting = f", {queued} waiting" if queued else ""
            st.caption(f":material/progress_activity: {running} job{'s' * (running != 1)} running{waiting}")
        if not present():
            st.caption(":material/warning: 3Dmol.js is missing: `./run app` fetches it when the internet is there.")
