"""People: their roles, what they may have, and what was done by whom. For administrators."""

import streamlit as st

from core.settings import accounts
from core.ui.people_view import audit_log, change_person, people_table
from core.ui.widgets import header, segments, sentences
from core.workflows.acting import ADMIN, require

VIEWS = {"people": "People", "log": "Audit log"}

header("People", "Who has signed in, what they may do, and what was done.")
with sentences():
    require(ADMIN)
    if accounts() is None:
        st.info("There are no accounts here: set SUBHULL_OIDC_ISSUER and what belongs to it.", icon=":material/group:")
    if segments("Show", VIEWS, "show", "page") == "log":
        audit_log()
    else:
        chosen = people_table()
        if chosen is not None:
            change_person(chosen)
