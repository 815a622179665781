"""One candidate: its crystal as generated and as relaxed, what was asked, what was found, what its owner says of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import streamlit as st

from core.energy.potential import shortest_distances
from core.ui.candidate_words import (
    NONE,
    balance,
    composition,
    energy_asked,
    group_named,
    number,
    state,
    twins_words,
    verdict,
)
from core.ui.crystal_view import show_structure
from core.ui.hull_view import competitors
from core.ui.permits import permitted
from core.ui.relaxation_player import show_player
from core.ui.widgets import energy, page, plain, segments, sentences
from core.workflows import candidates as workflow
from core.workflows.candidates import MAX_NOTE, Row, Scope, crystal_of, place_of
from db.candidate_lists import Placing


def show_one(row: Row, placing: Placing | None = None, notes: bool = True) -> None:
    """The crystal beside what is known of it; `notes`: with what can be said of it."""
    candidate = row.candidate
    left, right = st.columns([3, 2], gap="large")
    with left:
        relaxed = row.relaxed and _which(row) == "relaxed"
        crystals = crystal_of(row, relaxed)
        name = f"{row.name}_{candidate.formula}{'_relaxed' if relaxed else ''}"
        show_structure(crystals, key=f"one-{candidate.id}-{relaxed}", name=name, details="below")
    with right:
        words = f"as relaxed with {row.relaxation.method}" if relaxed and row.relaxation else "as generated"
        st.markdown(f"**{plain(composition(candidate))}** :small[candidate {row.name}, {plain(words)}]")
        st.table(_facts(row, relaxed, placing), border="horizontal")
        if notes:
            _note(row)
    if row.relaxation:
        with sentences():
            show_player(candidate.id, row.relaxation.method)


def _which(row: Row) -> str:
    return segments(
        "Cell", {"relaxed": "As relaxed", "generated": "As generated"}, "cell", of=row.candidate.id
    )  # fmt: skip


def _facts(row: Row, relaxed: bool, placing: Placing | None) -> dict[str, str]:
    candidate, relaxation = row.candidate, row.relaxation
    crystals = crystal_of(row, relaxed)
    distance = float(shortest_distances(crystals)[0])
    volume = float(crystals.volume[0]) / candidate.natoms
    facts = {"as drawn": verdict(candidate)}
    if relaxation:
        before = "" if relaxation.formation_before is None else f", {energy(relaxation.formation_before)} as drawn"
        facts["energy"] = energy(relaxation.formation_after) + before
        facts["relaxation"] = state(row)
    else:
        facts["energy"] = "not relaxed"
    if row.twins is not None:
        facts["as relaxed"] = twins_words(row.twins)
    facts |= _placed(row, placing)
    facts["asked"] = _conditions(row)
    facts["space group"] = _groups(row, relaxed)
    facts["shortest distance"] = number(distance if math.isfinite(distance) else None, 2, "Å")
    facts["volume"] = number(volume if math.isfinite(volume) else None, 1, "Å³ per atom")
    if candidate.novelty:
        facts["new against"] = _novelty(row)
    facts["charge balance"] = balance(candidate)
    if candidate.displacement is not None or candidate.same_as_start is not None:
        facts["against its start"] = _start(row)
    facts["made by"] = candidate.model + (f", series {candidate.series}" if candidate.series else "")
    return {name: plain(value) or NONE for name, value in facts.items()}


def _placed(row: Row, placing: Placing | None) -> dict[str, str]:
    place = place_of(row, placing) if placing else None
    if place is None:
        return {} if row.above is None else {"above hull": energy(row.above)}
    return {"above hull": energy(place.above), "competes with": competitors(place.against)}


def _conditions(row: Row) -> str:
    candidate = row.candidate
    parts = [group_named(candidate.group_asked)] if candidate.group_asked else []
    if candidate.energy_asked is not None:
        parts.append(f"{energy_asked(candidate)} by {candidate.energy_method or 'an unknown method'}")
    return ", ".join(parts) or "nothing but the composition"


def _groups(row: Row, relaxed: bool) -> str:
    """Of the relaxed cell, or of the drawn one at every tolerance."""
    candidate = row.candidate
    if relaxed and row.relaxation:
        return group_named(row.relaxation.group_found)
    known = {float(k): int(v) for k, v in candidate.groups.items() if str(v).lstrip("-").isdigit()}
    if known:
        listed = "; ".join(f"{group_named(g)} within {tolerance:g} Å" for tolerance, g in sorted(known.items()))
    else:
        within = f" within {candidate.symprec:g} Å" if candidate.symprec else ""
        listed = group_named(candidate.group_found) + within
    if candidate.symmetrised is not None:
        listed += f"; symmetrised, sites moved by up to {candidate.symmetrised:.3f} Å"
    return listed


def _novelty(row: Row) -> str:
    return ", ".join(f"{name}: {'new' if new else 'known'}" for name, new in sorted(row.candidate.novelty.items()))


def _start(row: Row) -> str:
    candidate = row.candidate
    parts = []
    if candidate.same_as_start is not None:
        parts.append("the same structure" if candidate.same_as_start else "another structure")
    if candidate.displacement is not None:
        parts.append(f"sites moved by {candidate.displacement:.2f} Å")
    if candidate.volume_change is not None:
        parts.append(f"volume changed by {100 * candidate.volume_change:+.1f} %".replace("-", "−"))
    return ", ".join(parts)


def _note(row: Row) -> None:
    candidate = row.candidate
    key = f"note-{candidate.id}-{hash(candidate.note)}"
    scope = Scope(ids=(candidate.id,))

    def keep() -> None:
        with sentences():
            workflow.put_note(scope, st.session_state[key])
            st.toast("Note kept." if st.session_state[key].strip() else "Note taken away.", icon=":material/check:")

    st.text_area(
        "Note",
        candidate.note,
        key=key,
        max_chars=MAX_NOTE,
        height=80,
        placeholder="plain text",
        on_change=keep,
        **permitted(),
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        starred = candidate.starred
        st.button(
            "Starred" if starred else "Star",
            key=f"star-one-{candidate.id}",
            icon=":material/star:",
            type="primary" if starred else "secondary",
            on_click=_turn_star,
            args=(scope, not starred),
            **permitted(help="Take the star away" if starred else None),
        )
        st.page_link(
            page("modify"),
            label="Modify this one",
            icon=":material/transform:",
            query_params={"candidate": str(candidate.id)},
        )


def _turn_star(scope: Scope, starred: bool) -> None:
    workflow.star(scope, starred)


def steps(ids: list[int], current: int, before: Callable[[], int | None], after: Callable[[], int | None]) -> None:
    """Previous and next of a list; at its ends `before` and `after` are asked."""
    at = ids.index(current) if current in ids else -1

    def step(by: int) -> None:
        beyond = before if by < 0 else after
        there = ids[at + by] if 0 <= at + by < len(ids) else beyond()
        if there is not None:
            st.query_params["candidate"] = str(there)

    with st.container(horizontal=True, horizontal_alignment="right"):
        st.button("Previous candidate", icon=":material/chevron_left:", key="one-previous", on_click=step, args=(-1,))
        st.button("Next candidate", icon=":material/chevron_right:", key="one-next", on_click=step, args=(1,))
