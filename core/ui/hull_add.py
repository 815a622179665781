"""Three ways to a hull: a file, a dataset of the store, AFLOW."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.ui.widgets import go, save_uploads, sentences
from core.workflows.hulls import import_hull


def file_form() -> None:
    """A file: AFLOW's hull files, this app's JSON, a CSV."""
    with st.form("hull", border=False):
        file = st.file_uploader(
            "A hull file of AFLOW, this app's JSON, or CSV with formula and formation_energy (eV/atom)",
            type=["csv", "json", "gz"],
        )
        left, right = st.columns(2)
        name = left.text_input("Name", placeholder="as the file says")
        method = right.text_input("Energy method, where the file names none", placeholder="AFLOW")
        if st.form_submit_button("Import", type="primary"):
            with sentences():
                if not file:
                    st.warning("Choose a file.", icon=":material/info:")
                    return
                (path,), names = save_uploads([file])
                safe = "".join(c for c in names[0] if c.isalnum() or c in "._-") or "hull.json"
                named = Path(path).with_name(f"{Path(path).name[:8]}-{safe}")
                Path(path).rename(named)
                try:
                    made = import_hull(named, name.strip(), method.strip())
                finally:
                    named.unlink(missing_ok=True)
                go("*", hull=made.row.id)
