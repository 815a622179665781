"""Colours of elements: VESTA's, Jmol's, and a palette that colour-blind eyes tell apart."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pymatgen.vis
import streamlit as st
import yaml

from core.data.rows import symbol

PALETTES = {"vesta": "VESTA", "jmol": "Jmol", "blind": "Colour-blind"}
_UNKNOWN = "#b0b0b0"
# Okabe and Ito's eight, the ones that lie farthest apart first; the ninth element begins again in lighter shades
_OKABE_ITO = ["#0072b2", "#e69f00", "#cc79a7", "#009e73", "#f0e442", "#56b4e9", "#d55e00", "#8c8c8c"]
_ALIKE = 25.0  # CIE76 in Lab: nearer colours are hard to tell apart on shaded spheres


def chosen_palette() -> str:
    """The palette of the URL (`?palette=`), else the one that this session used last."""
    wanted = st.query_params.get("palette", "")
    if wanted in PALETTES:
        st.session_state["palette"] = wanted
    return str(st.session_state.get("palette", "vesta"))


def colours_of(numbers: Iterable[int], palette: str = "vesta") -> dict[str, str]:
    """{symbol: "#rrggbb"} by atomic number; "blind" depends on the whole set: the same set, the same colours."""
    present = sorted(set(numbers))
    if palette != "blind":
        return {symbol(z): _table(PALETTES.get(palette, "VESTA")).get(symbol(z), _UNKNOWN) for z in present}
    return {symbol(z): _shade(k) for k, z in enumerate(present)}


def alike(colours: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of elements whose colours are hard to tell apart."""
    names = list(colours)
    return [
        (a, b)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if float(np.linalg.norm(lab(colours[a]) - lab(colours[b]))) < _ALIKE
    ]


def lab(colour: str) -> np.ndarray:
    """ "#rrggbb" -> (3,) CIE L*a*b* under D65."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _shade(position: int) -> str:
    """The n-th colour: the eight, then lighter and darker ones of each."""
    base, turn = _OKABE_ITO[position % 8], position // 8
    if not turn:
        return base
    hue, light, saturation = colorsys.rgb_to_hls(*(int(base[i : i + 2], 16) / 255 for i in (1, 3, 5)))
    step = (turn + 1) // 2 * 0.17 * (1 if turn % 2 else -1)
    rgb = colorsys.hls_to_rgb(hue, min(0.92, max(0.12, light + step)), saturation)
    return "#{:02x}{:02x}{:02x}".format(*(round(255 * v) for v in rgb))


@cache
def _table(name: str) -> dict[str, str]:
    """VESTA's or Jmol's colours, as pymatgen carries them."""
    table = yaml.safe_load((Path(pymatgen.vis.__file__).parent / "ElementColorSchemes.yaml").read_text())[name]
    return {element: "#{:02x}{:02x}{:02x}".format(*map(int, rgb)) for element, rgb in table.items()}
