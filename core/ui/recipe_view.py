"""Build a dataset of imports: every filter with what it leaves, live."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from core.data.recipe import PAPER, Columns, Recipe
from core.jobs import queue
from core.ui.conditions import space_group_picker
from core.ui.dataset_recipe import show_stages
from core.ui.periodic_table import places
from core.ui.permits import permitted
from core.ui.widgets import go, plain, selected, sentences
from core.workflows.datasets import (
    BuildParams,
    check_new_name,
    columns_of,
    filtered,
    find_imports,
    get_dataset,
    has_own_split,
    imports_of,
    list_imports,
    recipe_of,
    with_method,
)

_OFF = Recipe()


def build_form() -> None:
    """Inputs on the left, what remains on the right."""
    known = list_imports()
    if not known:
        st.info(
            "Nothing is imported yet: bring in files, AFLOW's entries or prototypes first.", icon=":material/dataset:"
        )
        return
    like = selected("like")
    base, chosen = _OFF, [known[0].name]
    shown = selected("dataset")
    if like or shown:
        with sentences():
            dataset = get_dataset(like or shown or "")
            chosen = [i.name for i in imports_of(dataset)]
            if like:
                base = recipe_of(dataset.recipe)
                st.caption(f"Begins with the filters of {plain(like)}.")
    if st.toggle(
        "Begin with the paper's filters", key=f"paper-{like}", help="4 to 60 atoms, 1 % share, groups of 7, ±5 eV"
    ):
        base = replace(PAPER, methods=base.methods)
    key = f"{like}-{shown}-{base.min_polymorphs}-{base.atoms}"  # other defaults make other widgets
    left, right = st.columns([4, 5], gap="large")
    with left:
        names = st.multiselect("Imports", [i.name for i in known], default=chosen, key=f"imports-{key}")
    if not names:
        st.info("Choose at least one import.", icon=":material/info:")
        return
    with sentences():
        columns = columns_of([i.id for i in find_imports(names)])
        with left:
            recipe = _filters(base, columns, key)
        recipe = with_method(recipe, columns)
        keep, stages = filtered(columns, recipe)
        with right:
            st.markdown("**What remains after each filter**")
            show_stages(stages, key)
            if not recipe.duplicates:
                st.caption("Duplicates are looked for while the dataset is built.")
            _submit(recipe, names, int(keep.sum()))


def _filters(base: Recipe, columns: Columns, key: str) -> Recipe:
    """The recipe as the widgets say. Raises UserError through what uses it."""
    methods = list(columns.methods)
    usual = with_method(_OFF, columns).methods
    used = st.multiselect(
        "Energy method",
        methods,
        default=[m for m in base.methods if m in methods],
        placeholder=f"{usual[0]}, which most structures have" if usual else "no energies",
        help="Energies of different methods differ. More than one mixes them: a structure takes the first it has.",
        key=f"methods-{key}",
    )
    if len(used) > 1:
        st.warning("Energies of different methods are mixed in this dataset.", icon=":material/warning:")
    atoms = st.slider("Atoms per cell", 1, 200, base.atoms or (1, 200), key=f"atoms-{key}")
    left, right = st.columns(2)
    low = left.number_input("Energy above (eV/atom)", value=_end(base, 0), key=f"low-{key}", placeholder="any")
    high = right.number_input("Energy below (eV/atom)", value=_end(base, 1), key=f"high-{key}", placeholder="any")
    left, right = st.columns(2)
    share = left.number_input(
        "Smallest share (%)", 0.0, 50.0, 100 * base.min_share, 0.5, key=f"share-{key}",
        help="Elements and space groups in fewer of the structures are dropped, with these structures.",
    )  # fmt: skip
    polymorphs = right.number_input("Polymorphs per formula, at least", 1, 100, base.min_polymorphs, key=f"poly-{key}")
    with st.expander("Elements, space groups, quality, split"):
        only = st.multiselect("Only these elements", list(places()), list(base.elements), key=f"only-{key}")
        without = st.multiselect("Without these elements", list(places()), list(base.without), key=f"without-{key}")
        groups = space_group_picker(f"groups-{key}")
        suspicious = st.toggle("Drop suspicious structures", not base.suspicious, key=f"suspicious-{key}")
        duplicates = st.toggle(
            "Drop duplicates", not base.duplicates, key=f"duplicates-{key}",
            help="Of structures that pymatgen's StructureMatcher finds the same, the lowest stays. Slow.",
        )  # fmt: skip
        named = has_own_split(columns.split)
        own = st.toggle("Keep the split that the files name", base.own_split, key=f"own-{key}") if named else True
        fixed = own and named
        left, right = st.columns(2)
        kept = left.number_input(
            "For validation (% of formulas)", 0.0, 90.0, 100 * base.split, 1.0, key=f"split-{key}", disabled=fixed
        )
        seed = right.number_input("Seed of the split", 0, 2**31 - 1, base.seed, key=f"seed-{key}", disabled=fixed)
    energy = None if low is None and high is None else (-1e9 if low is None else low, 1e9 if high is None else high)
    return Recipe(
        methods=tuple(used),
        atoms=None if atoms == (1, 200) else atoms,
        energy=energy,
        elements=tuple(only),
        without=tuple(without),
        groups=groups or base.groups,
        min_share=share / 100,
        suspicious=not suspicious,
        duplicates=not duplicates,
        min_polymorphs=int(polymorphs),
        split=kept / 100,
        seed=int(seed),
        own_split=own,
    )


def _end(base: Recipe, side: int) -> float | None:
    return None if base.energy is None or abs(base.energy[side]) > 1e8 else base.energy[side]


def _submit(recipe: Recipe, imports: list[str], count: int) -> None:
    name = st.text_input("Name of the dataset", placeholder="borides-filtered", key="build-name")
    if st.button(f"Build the dataset of {count:,} structures", type="primary", **permitted(disabled=not count)):
        with sentences():
            check_new_name(name)
            params = BuildParams(**vars(recipe), imports=tuple(imports), name=name)
            go(job=queue.submit("build", f"Build {name}", params, "io"))
