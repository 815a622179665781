"""The Datasets page's charts: they hold what they were given; the periodic table is the periodic table."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymatgen.core import Element

from core.ui import dataset_charts as charts
from core.ui.periodic_table import heat_map, places


def rows(chart: Any) -> list[dict[str, Any]]:
    return [row for part in chart.to_dict()["datasets"].values() for row in part]


def parameters(chart: Any) -> set[str]:
    found = chart.to_dict()
    return {p["name"] for part in [found, *found.get("layer", [])] for p in part.get("params", [])}


def test_every_element_has_a_place_of_its_own() -> None:
    known = places()
    assert len(known) == len(set(known.values())) == 103
    for symbol in ("H", "He", "Ti", "Ta", "W", "Xe", "Hf"):
        assert known[symbol] == (Element(symbol).group, Element(symbol).row)
    assert {known[s][1] for s in ("La", "Lu")} == {9}
    assert {known[s][1] for s in ("Ac", "Lr")} == {10}


def test_the_table_holds_counts_and_mean_energies_and_can_be_clicked() -> None:
    values = {"B": (30, -0.5), "Ta": (10, 0.25), "Og": (1, None)}
    for by_energy in (False, True):
        chart = heat_map(values, by_energy)
        found = {r["element"]: r for r in rows(chart) if r.get("structures")}
        assert {s: r["structures"] for s, r in found.items()} == {"B": 30, "Ta": 10}
        assert {s: r["shown"] for s, r in found.items()} == (
            {"B": -0.5, "Ta": 0.25} if by_energy else {"B": 30, "Ta": 10}
        )
        assert "pick" in parameters(chart)
    assert rows(heat_map({}))


def test_bars_and_histograms_hold_every_count() -> None:
    groups = charts.space_groups({0: 9, 225: 2, 12: 7}, most=5)
    assert [(r["space group"], r["structures"]) for r in rows(groups)] == [(12, 7), (225, 2)], "unknown is not drawn"
    assert [r["space group"] for r in rows(charts.space_groups({g: g for g in range(1, 40)}, most=3))] == [37, 38, 39]
    assert [(r["atoms"], r["structures"]) for r in rows(charts.cell_sizes({9: 1, 4: 2}))] == [(4, 2), (9, 1)]
    edges, counts = np.linspace(-1, 1, 5), np.array([1, 2, 3, 4])
    found = rows(charts.energies(edges, counts))
    assert [(r["low"], r["high"], r["structures"]) for r in found] == [
        (-1.0, -0.5, 1), (-0.5, 0.0, 2), (0.0, 0.5, 3), (0.5, 1.0, 4)
    ]  # fmt: skip
    for chart in (groups, charts.cell_sizes({4: 1}), charts.energies(edges, counts)):
        assert "pick" in parameters(chart)
    lines = rows(charts.coordinates(np.linspace(0, 1, 49), np.arange(144).reshape(3, 48)))
    assert sum(r["sites"] for r in lines) == np.arange(144).sum()
    assert {r["axis"] for r in lines} == set("xyz")
    sizes = rows(charts.group_sizes(np.array([1, 1, 7, 31, 55])))
    assert {r["polymorphs"]: r["formulas"] for r in sizes} == {"1": 2, "7": 1, "30+": 2}
    assert len(rows(charts.remaining([{"filter": "a", "structures": 2}, {"filter": "b", "structures": 1}]))) == 2
