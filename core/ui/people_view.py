"""People with their roles and quotas, and the audit log."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from core.ui.accounts import known_again
from core.ui.text import plain
from core.ui.widgets import ago, go, pages, pick_row, selected, selected_int, sentences
from core.workflows import audit, people
from core.workflows.acting import ROLES
from core.workflows.quotas import disk_of, jobs_of, limits_of, usual_limits
from db.tables import Person

PAGE = 50


def people_table() -> Person | None:
    """Everybody who has signed in; returns the one who is chosen."""
    found = people.list_people()
    if not found:
        st.info("Nobody has signed in yet.", icon=":material/group:")
        return None
    wanted = selected_int("person")
    shown = next((i for i, person in enumerate(found) if person.id == wanted), None)
    table = pd.DataFrame(
        [(p.name, p.address, people.role_of(p), *_use(p), ago(p.first_seen), ago(p.last_seen)) for p in found],
        columns=["name", "address", "role", "jobs", "on disk", "first seen", "last seen"],
    )
    row = pick_row(table, "people", shown=shown, alt="People; select one to change a role or quotas")
    if row is not None:
        go(person=found[row].id)
    if shown is None:
        st.caption("Select a row to change a role or quotas.")
        return None
    return found[shown]


def _use(person: Person) -> tuple[str, str]:
    """(jobs, room) as what they have of what they may have."""
    limits = limits_of(person)
    jobs, room = f"{jobs_of(person.id)}", f"{disk_of(person.id) / 1e9:.2f}"
    return (
        f"{jobs} of {limits.jobs}" if limits.jobs else jobs,
        f"{room} of {limits.disk / 1e9:g} GB" if limits.disk else f"{room} GB",
    )


def change_person(person: Person) -> None:
    """Role and quotas of one."""
    with st.form(f"person-{person.id}"):
        st.markdown(f"**{plain(person.name or person.address)}** :small[{plain(person.address)}]")
        role_field, jobs_field, disk_field = st.columns(3)
        role = role_field.selectbox("Role", ROLES, index=ROLES.index(people.role_of(person)))
        usual, about = usual_limits(), "Empty: as the settings say. 0: no limit."
        jobs = jobs_field.number_input(
            "Jobs at once",
            value=person.max_jobs,
            min_value=0,
            max_value=10**6,
            step=1,
            help=about,
            placeholder=f"{usual.jobs or 'no limit'}, by the settings",
        )
        gigabytes = disk_field.number_input(
            "GB on disk",
            value=None if person.max_bytes is None else person.max_bytes / 1e9,
            min_value=0.0,
            max_value=1e6,
            help=about,
            placeholder=f"{usual.disk / 1e9:g}, by the settings" if usual.disk else "no limit, by the settings",
        )
        if st.form_submit_button("Save", type="primary"):
            with sentences():
                people.set_quotas(person.id, jobs, None if gigabytes is None else round(gigabytes * 1e9))
                people.set_role(person.id, role)
                known_again()
                go()


def audit_log() -> None:
    """What was done, newest first, by words and by action."""
    left, right = st.columns([2, 1])
    text = left.text_input("Find", selected("find") or "", placeholder="in who, thing or detail")
    taken = audit.actions_taken()
    actions = right.multiselect("Action", taken, [a for a in st.query_params.get_all("action") if a in taken])
    if text != (selected("find") or "") or actions != [a for a in st.query_params.get_all("action") if a in taken]:
        go("page", "find", "action", **({"find": text} if text else {}), **({"action": actions} if actions else {}))
    offset = pages(audit.list_entries(text, actions, limit=0).total, PAGE, "page")
    entries = audit.list_entries(text, actions, PAGE, offset)
    if not entries.total:
        st.caption("Nothing was done that fits.")
        return
    table = pd.DataFrame(
        [(_moment(e.at), e.who, e.action, e.kind, e.thing, e.detail) for e in entries.listed],
        columns=["when (UTC)", "who", "did", "to a", "thing", "detail"],
    )
    st.dataframe(table, hide_index=True, alt="The audit log")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
