"""The viewer of one crystal: what its script is given, its tabs and palettes; no text of a user reaches it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from streamlit.testing.v1 import AppTest

from core.crystals import from_structures, pack_cells
from core.ui.crystal_details import named_lines
from core.ui.crystal_scene import data_of, page_of
from core.ui.crystal_view import structure_html
from core.ui.palettes import _OKABE_ITO, PALETTES, alike, colours_of, lab
from core.ui.viewer import SCRIPT, pair_html, with_images
from tests.data.test_crystallography import KNOWN

HOSTILE = "</script><img src=x onerror=alert(1)>*/ `${1}`"


def data_in(html: str) -> dict:
    found = re.search(r"const data = (\{.*\});\n", html)
    assert found is not None
    return json.loads(found.group(1))


def html_of(name: str, palette: str = "vesta", symprec: float = 0.01) -> str:
    return structure_html(pack_cells(from_structures([KNOWN[name]]))[0], symprec, palette)


@pytest.mark.parametrize("name", KNOWN)
def test_the_script_is_given_the_crystal_in_three_cells(name: str) -> None:
    data = data_in(html_of(name))
    assert [c["cell"] for c in data["cells"]] == ["stored", "primitive", "conventional"]
    for cell in data["cells"]:
        symbols = [data["elements"][k]["symbol"] for k in cell["kind"]]
        drawn = Structure(Lattice(cell["lattice"]), symbols, cell["frac"])
        assert StructureMatcher(scale=False).fit(drawn, KNOWN[name])
        for i, j, *image in cell["bonds"]:
            length = np.linalg.norm((np.add(cell["frac"][j], image) - cell["frac"][i]) @ np.array(cell["lattice"]))
            assert 1.2 < length < 4.5
        assert all(len(p["corners"]) > max(max(t) for t in p["triangles"]) for p in cell["polyhedra"])
    assert KNOWN[name].composition.reduced_formula in data["about"]
    assert "space group" in data["about"]


def test_a_page_fetches_nothing_but_3dmol_and_no_mark_is_left() -> None:
    left, right = from_structures([KNOWN["NaCl"]]), from_structures([KNOWN["TaB2"]])
    for html in (html_of("NaCl"), pair_html(left, right)):
        assert re.findall(r'(?:src|href)="(.*?)"', html) == [SCRIPT]
        assert "http" not in html
        assert not re.search(r"/\*(STYLE|SCENE|SCRIPT|DATA)\*/", html)


def test_text_of_users_cannot_end_the_script() -> None:
    pair = from_structures([KNOWN["NaCl"]])
    html = pair_html(pair, pair, titles=(HOSTILE, "/*DATA*/"))
    assert data_in(html)["titles"] == [HOSTILE, "/*DATA*/"]
    assert html.count("</script>") == 2
    broken = from_structures([KNOWN["NaCl"]])
    broken.lattice[:] = float("nan")
    assert "<img" not in pair_html(broken, pair, titles=(HOSTILE, ""))
    page = page_of("crystal_view.html", data_of(KNOWN["Si"], None, "vesta", HOSTILE))
    assert page.count("</script>") == 2
    assert [c["cell"] for c in data_in(page)["cells"]] == ["stored"]


def test_two_crystals_share_their_colours() -> None:
    data = data_in(pair_html(from_structures([KNOWN["TaB2"]]), from_structures([KNOWN["P-1"]])))
    assert [e["symbol"] for e in data["elements"]] == ["B", "Ta", "W"]
    kinds = [{data["elements"][k]["symbol"] for k in side["cells"][0]["kind"]} for side in data["sides"]]
    assert kinds == [{"B", "Ta"}, {"B", "W"}]


def seen_by(kind: str, colour: str) -> np.ndarray:
    """L*a*b* of a colour as a dichromat sees it (Viénot, Brettel and Mollon 1999, in linear light)."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = {
        "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    }[kind]
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    back = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    return lab("#{:02x}{:02x}{:02x}".format(*np.rint(255 * back).astype(int)))


@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_the_first_colours_are_told_apart_by_colour_blind_eyes(kind: str) -> None:
    colours = list(colours_of([5, 8, 22, 73, 74], "blind").values())
    distances = [
        np.linalg.norm(seen_by(kind, a) - seen_by(kind, b)) for i, a in enumerate(colours) for b in colours[i + 1 :]
    ]
    assert min(distances) > 14


def test_palettes_tell_elements_apart_and_stay_the_same() -> None:
    assert alike(colours_of([73, 74], "vesta")) == [("Ta", "W")]
    assert alike(colours_of(range(1, 9), "blind")) == []
    assert colours_of([74, 73, 5], "blind") == colours_of([5, 73, 74, 74], "blind")
    assert colours_of([5], "jmol") == {"B": "#ffb5b5"}
    many = colours_of(range(1, 25), "blind")
    assert len(set(many.values())) == 24
    assert list(many.values())[:8] == _OKABE_ITO


def script(body: str) -> Callable[[], AppTest]:
    return lambda: AppTest.from_string(f"{PREFIX}\n{body}", default_timeout=60).run()


PREFIX = """
from core.crystals import from_structures
from core.ui.crystal_view import show_structure
from tests.data.test_crystallography import KNOWN
"""


def test_tabs_palettes_and_files_stand_beside_the_picture() -> None:
    app = script("show_structure(from_structures([KNOWN['P2_1/c']]), name='a/b')")()
    assert not app.exception
    assert [t.label for t in app.tabs] == ["Cell", "Sites", "Distances", "Powder XRD"]
    facts = str(app.table[0].value)
    assert "P2₁/c (14) within 0.01 Å" in facts
    assert "monoclinic" in facts
    assert not app.dataframe, "what is not open is not computed"
    assert not app.warning


@pytest.mark.parametrize(
    ("tab", "words"),
    [
        ("Sites", "4e"),
        ("Distances", "O–Zr"),
        ("Powder XRD", "lines to 90° of the cell refined onto P2₁/c (14) within 0.01 Å"),
    ],
)
def test_every_tab_opens(tab: str, words: str) -> None:
    app = AppTest.from_string(f"{PREFIX}\nshow_structure(from_structures([KNOWN['P2_1/c']]))", default_timeout=60)
    app.session_state["structure-tabs"] = tab
    app.run()
    assert not app.exception
    shown = [str(f.value) for f in app.dataframe] + [c.value for c in app.caption]
    assert any(words in text for text in shown), shown
    assert not app.table, "what is not open is not computed"


def test_the_tolerance_decides_on_the_space_group() -> None:
    app = script(
        "bent = KNOWN['NaCl'].copy()\nbent.translate_sites([0], [0.004, 0.001, 0])\n"
        "show_structure(from_structures([bent]))"
    )()
    assert "Fm-3m" not in str(app.table[0].value)
    app.select_slider[0].set_value(0.1).run()
    assert not app.exception
    assert "Fm-3m (225)" in str(app.table[0].value)


def test_a_broken_cell_gives_a_sentence() -> None:
    app = script(
        "bad = from_structures([KNOWN['Si']])\nbad.lattice[:] = float('nan')\nshow_structure(bad)\n"
        "flat = from_structures([KNOWN['Si']])\nflat.lattice[0, 2] = 0\nshow_structure(flat, key='flat')\n"
    )()
    assert not app.exception
    assert [w.value for w in app.warning] == [
        "The cell or a coordinate is not a finite number: there is nothing to draw.",
        "The cell is flat: it encloses no volume.",
    ]


def test_atoms_on_one_another_are_drawn_without_symmetry() -> None:
    app = script(
        "from pymatgen.core import Lattice, Structure\n"
        "show_structure(from_structures([Structure(Lattice.cubic(4), ['Na', 'Na'], [[0, 0, 0], [0, 0, 0]])]))"
    )()
    assert not app.exception
    assert "none found" in str(app.table[0].value)


def test_the_palette_is_in_the_url_and_kept() -> None:
    app = AppTest.from_string(f"{PREFIX}\nshow_structure(from_structures([KNOWN['TaB2']]))", default_timeout=60)
    app.query_params["palette"] = "blind"
    app.run()
    assert app.session_state["palette"] == "blind"
    del app.query_params["palette"]
    app.run()
    assert app.session_state["palette"] == "blind"
    app.query_params["palette"] = "<script>"
    app.run()
    assert not app.exception
    assert app.session_state["palette"] in PALETTES


def test_names_of_lines_lie_on_nothing() -> None:
    rows = [
        (20.0, 100.0, "001, 100"),
        (21.0, 90.0, "010"),
        (40.0, 5.0, "1 −1 1"),
        (41.0, 50.0, "111"),
        (60.0, 9, "200"),
    ]
    named = named_lines(pd.DataFrame(rows, columns=["2θ (°)", "intensity", "h k l"]))
    assert named["name"].tolist() == ["001", "111", "200"]


@pytest.mark.parametrize("off", [-0.02, -0.001, 0.001, 0.02, 0.12])
def test_a_site_beside_a_face_is_drawn_on_both(off: float) -> None:
    """off: Å from the face of a cell of 3 Å or 30 Å."""
    for cell in (np.diag([3.0, 4.0, 30.0]), np.array([[3.0, 0, 0], [-1.5, 2.6, 0], [0.3, 0.2, 30.0]])):
        for axis in range(3):
            frac = np.full((1, 3), 0.5)
            frac[0, axis] = off * np.linalg.norm(np.linalg.inv(cell)[:, axis])
            assert len(with_images(frac % 1.0, np.array([5]), cell)[0]) == 2
            frac[0, axis] = 0.7 / np.linalg.norm(cell[axis])
            assert len(with_images(frac, np.array([5]), cell)[0]) == 1


def test_every_element_can_be_drawn() -> None:
    everything = Structure(Lattice.cubic(60), range(1, 119), [[k / 118, 0, 0] for k in range(118)])
    data = data_of(everything, None, "vesta", "")
    assert len(data["elements"]) == 118
    assert all(0.2 <= e["radius"] <= 0.75 for e in data["elements"])
    for palette in PALETTES:
        assert all(re.fullmatch("#[0-9a-f]{6}", c) for c in colours_of(range(1, 119), palette).values())
