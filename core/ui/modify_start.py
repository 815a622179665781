"""Getting a start for a modification: a file, a pasted text, a structure of the store. What is chosen is in the URL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
import torch

from core.data.starts import Found
from core.ui.widgets import counted, go, pick_row, plain, selected, selected_int, sentences
from core.workflows.context import UserError
from core.workflows.dataset_query import Selection, polymorphs
from core.workflows.datasets import get_dataset, list_datasets, load_tensors
from core.workflows.starts import decoded, keep_text, kept_text, of_candidate, of_dataset, read_text
from db.tables import Dataset

LINKS = ("start", "candidate", "structure")  # keys of the URL that name a start
CHOICES = ("n", "mend", "ordering", "cell", "symprec")  # and what was chosen of it
_LISTED = 100  # formulas that a search shows


@dataclass(frozen=True)
class Given:
    """What the URL names: a name to show, and the structures in it."""

    name: str
    found: Sequence[Found]


def given() -> Given | None:
    """The start of the URL: `?start=` a kept text, `?candidate=`, `?dataset=&structure=`. Raises UserError."""
    token, candidate, structure = selected("start"), selected_int("candidate"), selected_int("structure")
    if candidate is not None:
        found = of_candidate(candidate)
        return Given(found.label, [found])
    if structure is not None:
        found = of_dataset(selected("dataset") or "", structure)
        return Given(found.label, [found])
    if token:
        text, name = kept_text(token)
        return Given(name, read_text(text, name, mended()))
    return None


def mended() -> tuple[str, ...]:
    """The remedies that were chosen, of the URL."""
    return tuple(sorted({m for m in (selected("mend") or "").split("-") if m in ("p1", "hydrogen", "merge")}))


def forget_start() -> None:
    """Back to the choice of a structure."""
    go(*LINKS, *CHOICES, "dataset")


def choose_start() -> None:
    """A file or a pasted text on the left, the store on the right."""
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### A structure of yours")
        _own()
    with right:
        st.markdown("##### From the store")
        _stored()


def _own() -> None:
    file = st.file_uploader(
        "A CIF, POSCAR or CONTCAR, or extended XYZ", max_upload_size=2, help="Told apart by what stands in the file.",
    )  # fmt: skip
    pasted = st.text_area(
        "or paste its text", height=190, key="pasted",
        placeholder="data_TiB2\n_cell_length_a 3.03\n…\n\nor the lines of a POSCAR, or of an extended XYZ",
    )  # fmt: skip
    asked = st.button("Read it", icon=":material/visibility:")
    text = decoded(file.getvalue()) if file else pasted
    if text.strip():
        with sentences():
            name = file.name if file else "pasted text"
            with st.spinner("Reading …"):
                read_text(text, name)  # what holds nothing is said here, and the text stays in its field
            go(*LINKS, *CHOICES, "dataset", start=keep_text(text, name))
    elif asked or file:
        st.warning(
            "There is nothing to read yet: drop a file, or paste the text of one."
            if file is None
            else f"{plain(file.name[:80])} is empty.",
            icon=":material/info:",
        )


def _stored() -> None:
    datasets = [d.name for d in list_datasets()]
    if not datasets:
        st.caption("There is no dataset in the store.")
        return
    wanted = selected("dataset")
    name = st.selectbox("Dataset", datasets, index=datasets.index(wanted) if wanted in datasets else 0)
    text = st.text_input("Formula contains", key="wanted-formula", placeholder="TaB, or a whole formula")
    with sentences():
        dataset = get_dataset(name)
        found = polymorphs(dataset, Selection(formula=text.strip() or None), "formula")
        if not len(found.formula):
            st.info("No formula in this dataset contains that.", icon=":material/search_off:")
            return
        data = load_tensors(dataset)
        frame = pd.DataFrame(
            {
                "formula": [data.formulas[i] for i in found.formula[:_LISTED].tolist()],
                "polymorphs": found.count[:_LISTED],
                "lowest (eV/atom)": found.lowest[:_LISTED],
            }
        )
        more = f" The first {_LISTED} are listed." if len(found.formula) > _LISTED else ""
        st.caption(f"{counted(len(found.formula), 'formula').replace('formulas', 'formulas')}.{more} Choose one.")
        at = _row(frame, f"formulas-{name}-{text}", 168)
        if at is not None:
            _polymorphs(dataset, str(frame["formula"][at]))
    _candidate()


def _polymorphs(dataset: Dataset, formula: str) -> None:
    """The structures of one formula, lowest first; a click starts from it."""
    data = load_tensors(dataset)
    members = torch.nonzero(data.formula == data.formulas.index(formula)).flatten()
    members = members[data.crystals.energy[members].argsort()][:_LISTED]
    groups = data.crystals.group[members].tolist()
    frame = pd.DataFrame(
        {
            "space group": [g or None for g in groups],
            "atoms": data.crystals.natoms[members].numpy(),
            "energy (eV/atom)": np.asarray(data.crystals.energy[members], dtype=float),
        }
    )
    st.markdown(f"**{plain(formula)}** :small[by {plain(dataset.method or 'no energies')}; click one to start from it]")
    at = _row(frame, f"polymorphs-{dataset.id}-{formula}", 168)
    if at is not None:
        go(*LINKS, *CHOICES, dataset=dataset.name, structure=int(data.ids[members[at]]))


def _row(frame: pd.DataFrame, key: str, most: int) -> int | None:
    energies = {c: st.column_config.NumberColumn(format="%.3f") for c in frame.columns if "eV/atom" in c}
    return pick_row(frame, key, energies, most=most)


def _candidate() -> None:
    """A candidate by the name that tables show: 12-3."""
    text = st.text_input("or a candidate by its name", placeholder="12-3", key="wanted-candidate")
    if not text.strip():
        return
    from core.workflows.store import store
    from db import candidates as rows

    with sentences():
        run, dash, number = text.strip().partition("-")
        if not (dash and run.isdecimal() and number.isdecimal() and len(text) < 24):
            raise UserError("A candidate is named by its run and number, as in 12-3.")
        with store().session() as session:
            found = rows.find_candidate(session, int(run), int(number))
        if found is None:
            raise UserError(f"There is no candidate {run}-{number}.")
        go(*LINKS, *CHOICES, "dataset", candidate=found.id)
