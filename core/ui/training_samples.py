"""The crystals that a training draws for validation structures, beside what they should have become."""

from __future__ import annotations

import streamlit as st

from core.ui.viewer import grid_html, show_legend
from core.ui.widgets import pages, plain
from core.workflows.train import Samples, read_samples
from db.tables import Job

SHOWN = 4  # at once: columns of one canvas
_ROW = 230


def show_samples(job: Job, active: bool) -> None:
    """The latest samples, some at a time (`samples` in the URL), with what the matchers say of them."""
    samples = read_samples(job.folder)
    if samples is None or not len(samples.drawn):
        return
    order = "from above: the start, what was made of it, and" if samples.start else "above what was drawn, below"
    st.markdown(f"**Samples** :small[at step {samples.step:,}; {order} the validation structure that it should be]")
    offset = pages(len(samples.drawn), SHOWN, "samples")
    shown = range(offset, min(offset + SHOWN, len(samples.drawn)))
    columns = st.columns(SHOWN, gap="small")
    for column, i in zip(columns, shown, strict=False):
        group = int(samples.target.group[i])
        where = f" :small[space group {group}]" if group else ""
        column.markdown(f"**{plain(samples.target.formula(i))}**{where}  \n{_verdict(samples, i)}")
    some = list(shown)
    width = len(some) / SHOWN
    rows = [crystals[some] for crystals in (samples.start, samples.drawn, samples.target) if crystals is not None]
    height = _ROW * len(rows)
    st.iframe(
        grid_html(rows, height),
        height=height + 8,
        width="stretch" if width == 1 else int(1100 * width),
        alt="Crystals in 3D: what was drawn, and what it should be",
    )
    target = samples.target[some]
    show_legend(target.numbers[target.mask].tolist())


def _verdict(samples: Samples, index: int) -> str:
    """By both matchers; the paper's is the stricter one."""
    paper, field = (samples.matched[name][index] for name in ("paper", "field"))
    if paper is None and field is None:
        return ":gray-badge[not matched yet]"
    if paper:
        return ":green-badge[match]"
    return ":orange-badge[match by the field's tolerances]" if field else ":gray-badge[no match by either tolerance]"
