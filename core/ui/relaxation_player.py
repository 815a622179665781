"""A relaxation played back: the crystal turning beside its energy and its largest force, step by step.

One page of HTML that plays by itself: nothing is asked of the server while it runs. What is written into its script are
numbers and the symbols of elements, never a label, formula or file name.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from core.energy.trajectory import Trajectory
from core.ui.palettes import chosen_palette, colours_of
from core.ui.viewer import AXES, CORNERS, SCRIPT, show_legend, with_images, xyz, zoom
from core.ui.widgets import plain
from core.workflows.relax import read_trajectory

_HEIGHT = 520
_PAGE = Path(__file__).with_suffix(".html")  # holds HEIGHT, SCRIPT and DATA to be filled in


def show_player(candidate_id: int, method: str) -> None:
    """The relaxation of a candidate by a method, where its steps were kept."""
    trajectory = read_trajectory(candidate_id, method)
    if trajectory is None or len(trajectory) < 2:
        return
    with st.expander("How it relaxed", icon=":material/play_circle:"):
        change = float(trajectory.energy[-1] - trajectory.energy[0])
        first, last = trajectory.max_force[[0, -1]].tolist()
        st.caption(
            f"{int(trajectory.step[-1])} steps with {plain(method)} ({len(trajectory)} kept): the energy changed by "
            f"{change:+.4f} eV/atom, the largest force from {first:.2f} to {last:.3f} eV/Å.{_groups(trajectory)}"
        )
        st.iframe(player_html(trajectory), height=_HEIGHT + 8, alt="The relaxation, step by step")
        show_legend(trajectory.crystals.numbers[0][trajectory.crystals.mask[0]].tolist())


def _groups(trajectory: Trajectory) -> str:
    before, after, symprec = (trajectory.about.get(k, "") for k in ("group_before", "group_after", "symprec"))
    if not before or not after:
        return ""
    return f" Space group {before} before and {after} after, within {symprec} Å."


def player_html(trajectory: Trajectory, height: int = _HEIGHT) -> str:
    """The player's HTML; it fetches nothing but `SCRIPT`."""
    crystals = trajectory.crystals
    cells = crystals.lattice.double().numpy()
    numbers = crystals.numbers[0].numpy()[crystals.mask[0].numpy()]
    frames = [
        _frame(crystals.frac[i].double().numpy()[crystals.mask[i].numpy()], numbers, cells[i])
        for i in range(len(cells))
    ]
    data = {
        "step": trajectory.step.tolist(),
        "energy": [_number(v) for v in trajectory.energy.tolist()],
        "force": [_number(v) for v in trajectory.max_force.tolist()],
        "frames": frames,
        "colours": colours_of(numbers.tolist(), chosen_palette()),
        "axes": list(AXES.values()),
        "zoom": zoom(cells[0], 17.0),
    }
    text = json.dumps(data).replace("<", "\\u003c")
    return _PAGE.read_text().replace("HEIGHT", str(height)).replace("SCRIPT", SCRIPT).replace("DATA", text)


def _frame(frac: np.ndarray, numbers: np.ndarray, cell: np.ndarray) -> dict[str, Any]:
    """Atoms with their images on the cell's faces as XYZ, and the cell's twelve edges, a, b and c first."""
    places, kinds = with_images(frac, numbers, cell)
    edges = []
    for corner in CORNERS:
        for axis in range(3):
            if not corner[axis]:
                start = np.array(corner, float) @ cell
                edges.append([axis if not any(corner) else -1, *np.round([*start, *(start + cell[axis])], 4).tolist()])
    return {"xyz": xyz(places @ cell, kinds), "edges": sorted(edges, key=lambda e: -e[0])}


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
