"""Accounts on the pages: signing in, who a script runs for, and what Streamlit is told of the provider.

Streamlit signs people in by OpenID Connect and keeps who they are in a signed cookie. It reads the cookie when a
browser opens its websocket; `core.ui.gate` stands before that and before everything else that carries content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import streamlit as st
from streamlit import config
from streamlit.runtime.scriptrunner_utils.script_run_context import get_script_run_ctx

from core.settings import SettingsError, accounts, is_loopback
from core.ui.text import plain
from core.workflows import people
from core.workflows.acting import (
    EDITOR,
    NOBODY,
    VIEWER,
    Acting,
    acting,
    acting_as,
    answer_with,
    local_administrator,
)
from core.workflows.context import UserError
from db.tables import Person

EXPOSED = (
    "The app listens to other machines and has no accounts: whoever reaches it may do everything. "
    "Set SUBHULL_OIDC_ISSUER and what belongs to it, or let it listen on 127.0.0.1 only."
)
KNOWN_S = 2.0  # for so long a role that was looked up is taken for the present one

P = ParamSpec("P")
T = TypeVar("T")
_known: dict[tuple[str, str], tuple[float, Person | None]] = {}


def secrets() -> dict[str, Any] | None:
    """What `st.login` needs, as Streamlit's secrets.toml would hold it; None without accounts.

    Ends the program with a sentence for settings that cannot be used: nothing may open half protected.
    """
    try:
        here = accounts()
    except SettingsError as error:
        raise SystemExit(f"Subhull cannot start. {error}") from None
    if here is None:
        return None
    return {
        "auth": {
            "redirect_uri": f"{here.public_url}/oauth2callback",
            "cookie_secret": here.cookie_secret,
            "client_id": here.client_id,
            "client_secret": here.client_secret,
            "server_metadata_url": here.metadata_url,
        }
    }


def is_exposed() -> bool:
    """Does the server listen to other machines while everybody may do everything?"""
    return accounts() is None and not is_loopback(str(config.get_option("server.address") or ""))


def install() -> None:
    """Have the workflows find out who acts by the script that runs: page, fragment or callback, in any thread."""
    answer_with(person_of_script)


def person_of_script() -> Acting:
    """For whom the script of this thread runs; nobody where that cannot be told."""
    if accounts() is None:
        return local_administrator()
    claims = _claims()
    person = known(claims) if claims else None
    return people.as_acting(person) if person else NOBODY


def known(claims: Mapping[str, Any], fresh: bool = False) -> Person | None:
    """Who the claims of a cookie are about, as of the last two seconds."""
    try:
        key = people.identity(claims)
    except UserError:
        return None
    at, person = _known.get(key, (float("-inf"), None))
    if fresh or person is None or time.monotonic() - at > KNOWN_S:
        person = people.find(claims)
        if len(_known) > 10_000:
            _known.clear()
        _known[key] = (time.monotonic(), person)
    return person


def known_again() -> None:
    """Forget what was looked up: a role has changed."""
    _known.clear()


def let_in() -> bool:
    """May this script show the app? Otherwise it has drawn the page to sign in, and has to stop."""
    if accounts() is None:
        return True
    claims = _claims()
    if not claims:
        _alone(_sign_in)
        return False
    try:
        person = known(claims, fresh=True)
        if person is None:  # the store was made anew while the cookie lived
            people.sign_in(claims)
            person = known(claims, fresh=True)
    except UserError as error:
        problem = str(error)
        _alone(lambda: st.error(problem))
        return False
    if person is None or not people.as_acting(person).may(VIEWER):
        _alone(_no_role)
        return False
    people.note_seen(person)
    return True


def who_bar() -> None:
    """In the side bar: who is signed in, as what, and the way out."""
    if accounts() is None:
        return
    who = acting()
    st.caption(f":material/account_circle: {plain(who.name)} ({who.role})")
    if not who.may(EDITOR):
        st.caption(
            "You may look and download. An administrator can make you an editor, who also imports and runs jobs."
        )
    st.button("Sign out", icon=":material/logout:", key="sign-out", on_click=st.logout)


def as_now(function: Callable[P, T]) -> Callable[P, T]:
    """The same for the one who acts now: a download is made later, in a thread that runs no script."""
    who = acting()

    def for_them(*args: P.args, **kwargs: P.kwargs) -> T:
        with acting_as(who):
            return function(*args, **kwargs)

    return for_them


def _claims() -> dict[str, Any]:
    """What the provider said of the one who has this page open; {} of one who is not signed in."""
    context = get_script_run_ctx(suppress_warning=True)
    found = dict(context.user_info) if context is not None else {}
    return found if found.get("is_logged_in") is True else {}


def _alone(draw: Callable[[], Any]) -> None:
    """A page without any navigation: the names of the others are not sent."""

    def nothing_else() -> None:
        draw()

    st.navigation([st.Page(nothing_else, title="Subhull", url_path="", default=True)], position="hidden").run()


def _sign_in() -> None:
    st.title("Subhull")
    st.write("Sign in to go on.")
    st.button("Sign in", type="primary", icon=":material/login:", key="sign-in", on_click=st.login)


def _no_role() -> None:
    st.title("Subhull")
    claims = _claims()
    st.info(
        f"You are signed in as {plain(str(claims.get('email') or claims.get('name') or 'somebody new'))}, "
        "but you have no role here yet: ask an administrator for one, then reload this page.",
        icon=":material/lock:",
    )
    st.button("Sign out", icon=":material/logout:", key="sign-out", on_click=st.logout)
