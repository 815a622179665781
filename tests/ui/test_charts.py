"""Charts and the viewer without a browser: what they draw is what they were given, and nothing runs that should not."""

from __future__ import annotations

import json
import re
from typing import Any

import torch
from pymatgen.core import Lattice, Structure

from core.crystals import Crystals, from_structures
from core.ui.palettes import colours_of
from core.ui.text import JOINER, plain
from core.ui.viewer import SCRIPT, _escape_scripts, crystal_html

TA = Structure(Lattice.cubic(3.3), ["Ta", "B"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def values(chart: Any) -> list[dict[str, Any]]:
    """Every row of data of a chart."""
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def test_the_viewer_draws_every_atom_on_every_face_and_fetches_only_from_the_app() -> None:
    html = crystal_html(from_structures([TA]))
    xyz = re.search(r'addModel\("(.*?)","xyz"', html)
    assert xyz is not None
    lines = json.loads(f'"{xyz.group(1)}"').splitlines()
    assert lines[0] == "9", "eight corners and the centre"
    assert sum(line.startswith("Ta ") for line in lines) == 8
    assert set(re.findall(r"""['"]((?:https?:)?//[^'"]+|/[a-z][^'"]*\.js)['"]""", html)) == {SCRIPT}
    assert html.count("addCylinder(") == 12
    assert all(f'addLabel("{axis}"' in html for axis in "abc")
    assert colours_of([73])["Ta"] in html


def test_nothing_can_close_the_script() -> None:
    hostile = '<div></div><script>var a = "</script><script>alert(1)</script><!--";</script>'
    escaped = _escape_scripts(hostile)
    assert escaped.count("</script>") == 1
    assert escaped.count("<script>") == 2, "the opening tag inside a string opens nothing"
    assert "<!--" not in escaped


def test_a_strange_cell_is_drawn_all_the_same() -> None:
    flat = Crystals(
        torch.zeros(1, 1, 3), torch.diag_embed(torch.tensor([[1e-3, 50.0, 400.0]])), torch.tensor([[118]]),
        torch.zeros(1, dtype=torch.int64), torch.zeros(1),
    )  # fmt: skip
    assert "addModel" in crystal_html(flat)


def test_markdown_in_names_stays_text() -> None:
    shown = plain("**x** [a](http://b) :red[c] <i>")
    assert shown.replace(JOINER, "") == "\\*\\*x\\*\\* \\[a\\](http://b) \\:red\\[c\\] \\<i\\>"
    assert plain("1. a_b -> M3GNet-MP-2021.2.8 (x)!") == f"1\\. a_b -{JOINER}\\> M3GNet-MP-2021.2.8 (x)!"
    assert shown.count(JOINER) == 1  # else the address becomes a link, after the Markdown is read
    assert plain(":material/home: :smile: AB2_hP6:Ta-B").count(JOINER) == 2
