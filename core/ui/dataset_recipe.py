"""How a dataset came to be and how good it is: recipe, sources, what was not taken, what deserves a second look."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from core.data.recipe import WORDS, Recipe, Stage
from core.ui.dataset_charts import remaining
from core.ui.dataset_filter import choose
from core.ui.downloads import download
from core.ui.text import code
from core.ui.widgets import counted, go, pages, plain
from core.workflows.dataset_export import export_bytes
from core.workflows.dataset_query import Selection, suspects
from core.workflows.datasets import imports_of, recipe_of
from core.workflows.store import store
from db import structures as rows
from db.tables import Dataset

PAGE = 50
MOST_TO_DOWNLOAD = 200_000  # structures


def show_quality(dataset: Dataset, _: Selection) -> None:
    """Suspicious structures by reason, and rows of the sources that were not taken."""
    st.markdown("**A second look** :small[structures that are in the dataset]")
    columns = st.columns(3)
    for column, (reason, found) in zip(columns, suspects(dataset).items(), strict=True):
        with column, st.container(border=True):
            st.metric(reason, f"{len(found):,}")
            if st.button("Show them", key=f"suspects-{reason}", disabled=not len(found), width="stretch"):
                choose(reason=reason, show="structures")
    st.caption(
        "Volumes are compared with those of the elements, fitted to the imports: under a third, over four times."
    )
    st.markdown("**Not taken** :small[rows of its files or queries]")
    imports = [i.id for i in imports_of(dataset)]
    with store().session() as session:
        counts = rows.count_skipped(session, imports)
    if not counts:
        st.caption("Every row was taken.")
        return
    names = [f"{reason} ({n:,})" for reason, n in counts.items()]
    reason = st.selectbox("Reason", ["all", *names], key="skipped-reason", width=320)
    chosen = None if reason == "all" else reason.rsplit(" (", 1)[0]
    total = sum(counts.values()) if chosen is None else counts[chosen]
    offset = pages(total, PAGE, "skipped")
    with store().session() as session:
        listed = rows.skipped_rows(session, imports, PAGE, offset, chosen)
    frame = pd.DataFrame([(r.place, r.reason, r.detail) for r in listed], columns=["where", "reason", "what is wrong"])
    narrow = st.column_config.Column(width="small")
    st.dataframe(
        frame,
        hide_index=True,
        placeholder="",
        column_config={"where": narrow, "reason": narrow},
        alt="Rows that were not taken, with the reason",
    )
    if total > offset + PAGE and len(listed) < PAGE:
        st.caption("Of very many such rows the first 10,000 are kept with their sentence.")


def show_recipe(dataset: Dataset, _: Selection) -> None:
    """The filters that made it, its split, where its structures come from; and how to build on it."""
    recipe = recipe_of(dataset.recipe)
    summary = dataset.summary
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Filters**")
        st.dataframe(
            pd.DataFrame(recipe_words(recipe, summary.get("split") == "files"), columns=["what", "value"]),
            hide_index=True,
            alt="Filters of this dataset",
        )
        part = summary["validation"]
        how = "Split as the files name it" if summary.get("split") == "files" else "Split by formula"
        left_over = counted(summary["structures"] - part, "structure")
        st.caption(f"{how}: {left_over} to learn from, {part:,} for validation. Content {dataset.hash[:12]}.")
        if both := summary.get("formulas_in_both"):
            st.warning(
                f"{counted(both, 'formula')} of this split stand in both parts: what is measured on validation is not "
                "measured on new formulas. *Filter and split* draws a split by formula.",
                icon=":material/warning:",
            )
        _downloads(dataset)
        if st.button("Build again with other filters", icon=":material/tune:"):
            go(new="recipe", like=dataset.name)
    with right:
        if summary.get("stages"):
            st.markdown("**What each filter left**")
            show_stages([Stage(**s) for s in summary["stages"]], dataset.hash[:8])
        st.markdown("**Where its structures come from**")
        for known in imports_of(dataset):
            with st.container(border=True):
                st.markdown(
                    f"**{plain(known.name)}** :small[{known.structures:,} structures, {known.skipped:,} rows not taken]"
                )
                st.caption(plain(known.source))
                if "terms" in known.notes:
                    st.caption(f"{plain(known.notes['terms'])} Cite {plain(known.notes['citation'])}")
        methods = ", ".join(f"{plain(m)} ({n:,})" for m, n in summary["methods"].items()) or "none"
        st.caption(f"Energies in them: {methods}. This dataset uses {plain(dataset.method) or 'none'}.")


def _downloads(dataset: Dataset) -> None:
    """The whole dataset as a file, made when it is asked for."""
    if dataset.summary["structures"] > MOST_TO_DOWNLOAD:
        st.caption(
            f"Too large for the browser: `./run cli dataset export {code(dataset.name)} FILE.parquet` writes it."
        )
        return
    with st.container(horizontal=True):
        for suffix, label in (("jsonl.gz", "JSON lines"), ("parquet", "Parquet")):
            download(
                label,
                partial(export_bytes, dataset.name, suffix),
                f"{dataset.name}.{suffix}",
                tells=("dataset", f"{dataset.name}, {label}"),
            )


def show_stages(stages: Sequence[Stage], key: str) -> None:
    """A table and a chart of what remains after each filter."""
    named = [(WORDS.get(s.name, s.name), s) for s in stages]
    if len(named) > 1:
        bars = [{"filter": name, "structures": s.structures} for name, s in named]
        st.altair_chart(remaining(bars), key=f"stages-{len(bars)}-{key}", alt="Bars: structures left after each filter")
    frame = pd.DataFrame(
        [(name, s.structures, s.formulas, s.elements, s.groups) for name, s in named],
        columns=["after", "structures", "formulas", "elements", "space groups"],
    )
    counts = {c: st.column_config.NumberColumn(format="localized") for c in frame.columns[1:]}
    st.dataframe(frame, hide_index=True, column_config=counts, alt="What each filter left")


def recipe_words(recipe: Recipe, own_split: bool) -> list[tuple[str, str]]:
    """A recipe as a person reads it; filters that are off are left out."""
    words = [("energies", " then ".join(recipe.methods) or "none")]
    if recipe.elements:
        words.append(("only elements", " ".join(recipe.elements)))
    if recipe.without:
        words.append(("without elements", " ".join(recipe.without)))
    if recipe.atoms:
        words.append(("atoms per cell", f"{recipe.atoms[0]} to {recipe.atoms[1]}"))
    if recipe.energy:
        words.append(("formation energy", f"between {recipe.energy[0]:g} and {recipe.energy[1]:g} eV/atom"))
    if recipe.groups:
        words.append(("space groups", ", ".join(map(str, recipe.groups))))
    if recipe.min_share:
        words.append(("elements and space groups in at least", f"{100 * recipe.min_share:g} % of the structures"))
    if not recipe.suspicious:
        words.append(("suspicious structures", "dropped"))
    if not recipe.duplicates:
        words.append(("duplicates", "dropped, the lowest in energy kept"))
    if recipe.min_polymorphs > 1:
        words.append(("polymorphs per formula", f"{recipe.min_polymorphs} or more"))
    drawn = f"{100 * recipe.split:g} % of formulas, elements balanced, seed {recipe.seed}"
    words.append(("validation", "as the files name it" if own_split else drawn))
    return words
