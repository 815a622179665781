"""Hulls: list, import, look."""

from pathlib import Path

import pandas as pd
import streamlit as st

from core.crystals import unpack_cells
from core.ui.hull_view import show_hull
from core.ui.viewer import show_crystal
from core.ui.widgets import go, header, save_uploads, selected_int, sentences
from core.workflows.hulls import delete_hull, get_hull_by_id, import_hull, list_hulls

header("Hulls", "The known phases of a chemical system by one method: what a candidate has to beat.")
with st.expander("Import a hull", icon=":material/upload_file:"), st.form("hull", border=False):
    file = st.file_uploader(
        "CSV with formula and formation_energy (eV/atom), or this app's JSON", type=["csv", "json", "gz"]
    )
    if st.form_submit_button("Import", type="primary") and file:
        with sentences():
            paths, names = save_uploads([file])
            path = Path(paths[0])
            named = path.with_name(f"{path.stem[:8]}-{''.join(c for c in names[0] if c.isalnum() or c in '._-')}")
            path.rename(named)
            try:
                st.query_params["hull"] = str(import_hull(named).row.id)
            finally:
                named.unlink(missing_ok=True)

hulls = list_hulls()
if not hulls:
    st.info("No hull yet. Import one above.", icon=":material/change_history:")
    st.stop()
ids = [h.id for h in hulls]
names_by_id = {h.id: f"{h.chemical_system} by {h.method} ({h.name})" for h in hulls}
wanted = selected_int("hull")
hull_id = st.selectbox(
    "Hull", ids, index=ids.index(wanted) if wanted in ids else 0, format_func=names_by_id.__getitem__
)
st.query_params["hull"] = str(hull_id)
with sentences():
    view = get_hull_by_id(hull_id)
    columns = st.columns(4)
    columns[0].metric("phases", len(view.entries))
    columns[1].metric("on the hull", len(view.hull.stable()))
    columns[2].metric("energies", view.row.method)
    columns[3].metric("since", f"{view.row.created_at:%Y-%m-%d}")
    st.caption(f"Source: {view.row.source}")
    show_hull(view)
    st.subheader("Phases")
    table = pd.DataFrame(
        [(e.formula, e.formation, e.above_hull, e.space_group or None, e.label, e.source) for e in view.entries],
        columns=["formula", "formation (eV/atom)", "above hull (eV/atom)", "space group", "phase", "source"],
    )
    formats = {n: st.column_config.NumberColumn(format="%.4f") for n in table.columns if "eV" in n}
    event = st.dataframe(
        table,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        column_config=formats,
        key="phases",
        placeholder="",
    )
    rows = event["selection"]["rows"]
    if rows and view.entries[rows[0]].cell:
        entry = view.entries[rows[0]]
        st.markdown(f"**{entry.formula}** :small[{entry.source}]")
        show_crystal(unpack_cells([entry.cell or b""]), height=380)
    else:
        st.caption("Select a phase to see it in 3D.")
    with st.popover("Delete this hull", icon=":material/delete:"):
        st.write("Candidates stay; their place on this hull is gone.")
        if st.button("Delete", type="primary"):
            delete_hull(hull_id)
            go("*")
