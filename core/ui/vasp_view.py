"""To DFT and back on a page: input folders to download, results to upload, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.export.vasp import SETS, has_potcars
from core.jobs import queue
from core.ui.downloads import download
from core.ui.permits import permitted
from core.ui.uploads import save_uploads
from core.ui.widgets import counted, page, plain, selected_int, sentences
from core.workflows.hulls import list_hulls
from core.workflows.uploads import forgotten_if_refused
from core.workflows.vasp import WriteParams, write_vasp
from core.workflows.vasp_results import ReadParams

_SETTINGS = {"paper": "The paper's", "mp": "Materials Project's"}
_NUMBERS = {"total energy (eV/atom)": "%.4f", "formation energy (eV/atom)": "%.4f"}


def vasp_panel(candidate_ids: Sequence[int], method: str = "") -> None:
    """Both ways side by side. method: whose relaxed cells go out where they are known."""
    out, back = st.columns(2, gap="large")
    with out:
        vasp_download(candidate_ids, method)
    with back:
        vasp_upload()


def vasp_download(candidate_ids: Sequence[int], method: str = "") -> None:
    """A zip of input folders for these candidates, with the settings to choose."""
    st.markdown("**Out**")
    st.caption("A folder per candidate: POSCAR, INCAR, KPOINTS, names of pseudopotentials, a Slurm job script.")
    name = st.segmented_control(
        "Settings",
        list(SETS),
        format_func=_SETTINGS.__getitem__,
        default="paper",
        required=True,
        key="vasp-settings",
        help="; ".join(about for _, about in SETS.values()) + ".",
    )
    relaxed = st.toggle("Cells as relaxed, where they were", True, key="vasp-relaxed", help="Off: as generated.")
    potcars = has_potcars() and st.toggle(
        "Real POTCARs", True, key="vasp-potcars", help="From the library that PMG_VASP_PSP_DIR names."
    )
    elements = st.toggle(
        "The elements too", True, key="vasp-elements", help="Their energies are what formation energies count from."
    )
    params = WriteParams(str(name or "paper"), relaxed, method, bool(potcars), elements)
    download(
        f"VASP input of {len(candidate_ids)}",
        lambda: write_vasp(candidate_ids, params),
        "vasp.zip",
        "application/zip",
        disabled=not candidate_ids,
    )


def vasp_upload() -> None:
    """Results and elemental references, read as a job."""
    st.markdown("**Back**")
    st.caption("Results find their candidate by SYSTEM in INCAR, else by their crystal.")
    with st.form("vasp-back", border=False, clear_on_submit=True):
        files = st.file_uploader(
            "vasprun.xml, OUTCAR (also .gz), a zip of the folders; the elements' results or references.json",
            accept_multiple_files=True,
            key="vasp-files",
            help='Elemental references in eV/atom: {"B": -6.7, "Ta": -11.8}, a CSV with the columns element and '
            "energy, or each element's own vasprun.xml. 200 MB each; larger: ./run cli vasp read FILE",
        )
        if st.form_submit_button("Read the results", type="primary", icon=":material/upload_file:", **permitted()):
            with sentences():
                if not files:
                    st.warning("Choose one file or more.", icon=":material/info:")
                    return
                paths, names = save_uploads(files)
                title = f"Results of VASP: {counted(len(files), 'file')}"
                with forgotten_if_refused(paths):
                    st.query_params["job"] = str(queue.submit("vasp", title, ReadParams(paths, names), "io"))


def vasp_report(job_id: int) -> None:
    """What a job that read results came to; nothing for a job of another kind."""
    with sentences():
        job = queue.get(job_id)
        if job.kind == "vasp" and job.status == "done" and job.result:
            show_results(job.result)


def show_results(result: Mapping[str, Any]) -> None:
    """Results with their energies, files that were not taken with their reason, references."""
    rows, problems = list(result["results"]), list(result["problems"])
    if rows:
        kept = f"{counted(int(result['stored']), 'result')} kept"
        st.success(kept + ("." if result["stored"] == len(rows) else f" of {len(rows)}."), icon=":material/check:")
        st.dataframe(
            pd.DataFrame([_row(r) for r in rows]),
            hide_index=True,
            column_config={k: st.column_config.NumberColumn(format=form) for k, form in _NUMBERS.items()},
            height="auto" if len(rows) <= 10 else 420,
            alt="Results of VASP",
        )
    if problems:
        nothing = "No result was kept. " if not result["stored"] else ""
        first = plain(f"{problems[0][0]}: {problems[0][1]}")
        more = f" and {len(problems) - 1} more, listed below" if len(problems) > 1 else ""
        st.warning(f"{nothing}{counted(len(problems), 'file')} not taken: {first}{more}.", icon=":material/report:")
        st.dataframe(pd.DataFrame(problems, columns=["file", "why"]), hide_index=True, alt="Files that were not taken")
    for method, energies in result["references"].items():
        listed = ", ".join(f"{e} {v:.4f}".replace("-", "−") for e, v in energies.items()) or "none"
        st.caption(f"Elemental references of {plain(method)} (eV/atom): {listed}.")
    if result["recounted"]:
        earlier = counted(int(result["recounted"]), "earlier result")
        st.caption(f"{earlier} counted again from the new references.")
    for note in result["notes"]:
        st.warning(plain(str(note)), icon=":material/info:")
    _to_the_hull(rows)


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "candidate": result["candidate"],
        "composition": result["formula"],
        "method": result["method"],
        "status": result["status"],
        "total energy (eV/atom)": result["energy"],
        "formation energy (eV/atom)": result["formation"],
        "note": result["note"],
        "file": result["file"],
    }


def _to_the_hull(rows: Sequence[Mapping[str, Any]]) -> None:
    """What is missing before the results stand on a hull of their own method."""
    if any(r["stored"] and r["energy"] is not None and r["formation"] is None for r in rows):
        st.info(
            "Formation energies are missing: upload the elements' energies, computed with the same settings; they "
            "count for the results that are here already.",
            icon=":material/info:",
        )
    methods = {str(r["method"]) for r in rows if r["stored"]}
    without = sorted(methods - {h.method for h in list_hulls()})
    if without:
        st.caption(
            f"There is no hull by {plain(' or '.join(without))} yet: import one (a CSV with the columns formula, "
            "formation_energy and method) to place them."
        )
        st.page_link(page("hulls"), label="Hulls", icon=":material/arrow_forward:")


def is_watched() -> bool:
    """Is the job in the URL one that reads results?"""
    job_id = selected_int("job")
    if job_id is None:
        return False
    try:
        return queue.get(job_id).kind == "vasp"
    except ValueError:  # there is no such job: the page says so elsewhere
        return False
