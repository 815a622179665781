"""Charts of hulls without a browser: where points are, what is told apart, what a click gives."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import triangular_coord

from core.ui import hull_charts as charts
from core.ui.hull_charts import HullPicture
from core.ui.hull_surface import surface
from tests.ui.test_charts import values

ELEMENTS = ("B", "Ta", "W")


def point(formula: str, fractions: dict[str, float], above: float, formation: float = -0.5) -> dict[str, Any]:
    values = {"formula": formula, "fractions": fractions, "label": formula, "key": f"phase:{formula}"}
    return values | {"formation": formation, "above_hull": above}


def triangle(**more: Any) -> HullPicture:
    corners = [point(e, {e: 1.0}, 0.0, 0.0) for e in ELEMENTS]
    inside = point("TaWB", dict.fromkeys(ELEMENTS, 1 / 3), 0.0)
    others = [point("TaWB4", {"B": 2 / 3, "Ta": 1 / 6, "W": 1 / 6}, 0.1)]
    facets = [
        [*(c["fractions"] for c in (corners[i], corners[j])), inside["fractions"]] for i, j in ((0, 1), (1, 2), (0, 2))
    ]
    return HullPicture(ELEMENTS, [*corners, inside, *others], facets, **more)


def test_a_ternary_hull_is_an_equilateral_triangle_as_pymatgen_draws_it() -> None:
    chart = charts.ternary(triangle())
    rows = {r["formula"]: (r["x"], r["y"]) for r in values(chart) if "formula" in r}
    corners = [np.array(rows[e]) for e in ELEMENTS]
    sides = [np.linalg.norm(corners[i] - corners[j]) for i, j in ((0, 1), (1, 2), (0, 2))]
    assert sides == pytest.approx([1, 1, 1])
    assert rows["TaWB4"] == pytest.approx(tuple(triangular_coord(np.array([1 / 6, 1 / 6]))))
    lines = [r for r in values(chart) if "x2" in r]
    assert len(lines) == 6, "an edge that two facets share is drawn once"


def test_a_candidate_within_the_methods_error_is_hollow() -> None:
    near, far = point("TaW2B6", {"B": 2 / 3, "Ta": 1 / 9, "W": 2 / 9}, -0.02), point("TaB", {"B": 0.5, "Ta": 0.5}, 0.3)
    known = charts.ternary(triangle(candidates=[near, far], margin=0.05)).to_dict()
    marks = [layer["mark"] for layer in known["layer"] if layer["mark"]["type"] == "point"]
    assert [m["filled"] for m in marks] == [True, False]
    unknown = charts.ternary(triangle(candidates=[near, far])).to_dict()
    assert [layer["mark"]["filled"] for layer in unknown["layer"] if layer["mark"]["type"] == "point"] == [True]


def test_every_point_can_be_clicked_and_the_lowest_lies_on_top() -> None:
    chart = charts.ternary(triangle(candidates=[point("TaB", {"B": 0.5, "Ta": 0.5}, 0.1)])).to_dict()
    (param,) = chart["params"]
    assert param["name"] == "pick"
    assert param["select"] == {"type": "point", "fields": ["key"], "on": "click"}
    data = chart["datasets"][chart["layer"][-1]["data"]["name"]]
    assert len(data) == 6
    assert data[-1]["formula"] == "TaB", "candidates are hit before phases of the hull"


def test_a_binary_hull_is_a_curve_through_its_stable_phases_with_its_margin() -> None:
    phases = [
        point("B", {"B": 1.0}, 0, 0),
        point("Ta", {"Ta": 1.0}, 0, 0),
        point("TaB", {"B": 0.5, "Ta": 0.5}, 0, -0.8),
    ]
    other = point("TaB2", {"B": 2 / 3, "Ta": 1 / 3}, 0.05)
    chart = charts.binary(HullPicture(("B", "Ta"), [*phases, other], [], margin=0.1))
    assert {r["formula"]: r["x"] for r in values(chart) if "formula" in r}["TaB2"] == pytest.approx(1 / 3)
    band = [[r["x"], r["low"], r["high"]] for r in values(chart) if "low" in r]
    assert np.allclose(band, [[0, -0.1, 0.1], [0.5, -0.9, -0.7], [1, -0.1, 0.1]])
    plain = charts.binary(HullPicture(("B", "Ta"), phases, []))
    assert not [r for r in values(plain) if "low" in r]


def test_the_surface_has_the_facets_of_the_hull() -> None:
    figure = surface(triangle(candidates=[point("<b>TaB</b>", {"B": 0.5, "Ta": 0.5}, -0.1)]))
    mesh, edges, others, stable, candidates = figure.data
    assert len(mesh.i) == 3
    corners = {tuple(sorted(c)) for c in zip(mesh.i, mesh.j, mesh.k, strict=True)}
    assert corners == {(0, 1, 3), (1, 2, 3), (0, 2, 3)}
    assert list(mesh.z) == [0, 0, 0, -0.5]
    assert len(edges.x) == 3 * 5, "four points and a break each"
    assert (len(others.x), len(stable.x), len(candidates.x)) == (1, 4, 1)
    assert "&lt;b&gt;TaB" in candidates.hovertext[0], "Plotly reads HTML"


@pytest.mark.parametrize("picture", [triangle(), HullPicture(("B", "Ta"), [point("B", {"B": 1.0}, 0, 0)], [])])
def test_pictures_to_take_home(picture: HullPicture) -> None:
    svg = charts.image(picture, "svg").decode()
    assert svg.startswith("<svg")
    assert re.search(r">B</text>", svg)
    assert charts.image(picture, "png").startswith(b"\x89PNG")
