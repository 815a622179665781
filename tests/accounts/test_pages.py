"""The pages for people of each role, through Streamlit's AppTest as its `user` signs in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from core.ui.accounts import known_again
from core.workflows import audit, datasets, people
from core.workflows.acting import EDITOR, NONE, acting_as, local_administrator
from core.workflows.hulls import get_hull_by_id
from core.workflows.store import store
from db import jobs as rows
from tests.accounts.conftest import ADA, BEN, claims_of
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _fresh(with_accounts: None) -> None:
    known_again()


def opened(person: dict[str, Any] | None, page: str, /, **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "core" / "ui" / "router.py"), default_timeout=60)
    if person is not None:
        app.user = {**claims_of(person), "is_logged_in": True}
    for key, value in query.items():
        app.query_params[key] = value
    if page != "home":
        app.switch_page(f"../../pages/{page}.py")
    return app.run()


def words(app: AppTest) -> str:
    kinds = ("title", "markdown", "caption", "info", "warning", "error", "metric", "subheader")
    return " ".join(str(element.value) for kind in kinds for element in getattr(app, kind))


def button(app: AppTest, label: str) -> Any:
    return next(b for b in app.button if b.label == label)


@pytest.mark.parametrize("page", ["home", "datasets", "jobs", "people"])
def test_without_signing_in_there_is_a_button_and_nothing_else(page: str) -> None:
    app = opened(None, page)
    assert words(app) == "Subhull Sign in to go on."
    assert [b.label for b in app.button] == ["Sign in"]


def test_who_has_no_role_is_told_so() -> None:
    people.set_role(people.sign_in(claims_of(BEN)).id or 0, NONE)
    app = opened(BEN, "datasets")
    assert "you have no role here yet" in words(app)
    assert [b.label for b in app.button] == ["Sign out"]


def test_a_viewer_sees_why_buttons_are_off() -> None:
    people.sign_in(claims_of(BEN))
    app = opened(BEN, "datasets")
    assert "Ben Ten (viewer)" in words(app)
    assert button(app, "Import").disabled
    assert "your role is viewer" in button(app, "Import").help
    assert "You may look and download" in words(app)
    with acting_as(local_administrator()):
        people.set_role(people.person_named(BEN["email"]).id, EDITOR)
    known_again()
    assert not button(opened(BEN, "datasets"), "Import").disabled


def test_a_job_of_another_cannot_be_cancelled_on_its_page() -> None:
    ben, ada = people.sign_in(claims_of(BEN)), people.sign_in(claims_of(ADA))
    people.set_role(ben.id or 0, EDITOR)
    with store().session() as session:
        given = {"kind": "generate", "title": "t", "params": {}, "device": "nowhere"}
        mine = rows.add_job(session, **given, owner=ben.name, owner_id=ben.id)
        theirs = rows.add_job(session, **given, owner=ada.name, owner_id=ada.id)
        for job_id in (mine, theirs):
            rows.update_job(session, job_id, folder="")
    assert "of Ada Lovelace" in words(opened(BEN, "jobs"))
    off = button(opened(BEN, "jobs", job=str(theirs)), "Cancel")
    assert off.disabled
    assert "belongs to Ada Lovelace" in off.help
    button(opened(BEN, "jobs", job=str(mine)), "Cancel").click().run()
    with acting_as(ada):
        assert [(e.who, e.thing) for e in audit.list_entries(actions=["cancel"]).listed] == [(ben.name, str(mine))]


def test_people_is_the_administrators_page() -> None:
    ben = people.sign_in(claims_of(BEN))
    people.sign_in(claims_of(ADA))
    assert "Who has signed in" not in words(opened(BEN, "home"))
    assert "Who has signed in" not in words(opened(BEN, "people")), "nor by its address"
    app = opened(ADA, "people", person=str(ben.id))
    assert "Who has signed in" in words(app)
    next(s for s in app.selectbox if s.label == "Role").set_value(EDITOR)
    next(n for n in app.number_input if n.label == "Jobs at once").set_value(3)
    button(app, "Save").click().run()
    changed = people.find(claims_of(BEN))
    assert changed
    assert (changed.role, changed.max_jobs, changed.max_bytes) == (EDITOR, 3, None)
    log = opened(ADA, "people", show="log", find="ben@lab")
    assert [list(d.value["did"]) for d in log.dataframe] == [["change role", "change quota", "sign in"]]


def test_nothing_changes_without_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBHULL_OIDC_ISSUER")
    for name in ("SUBHULL_OIDC_CLIENT_ID", "SUBHULL_OIDC_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    app = opened(None, "datasets")
    assert "Sign out" not in [b.label for b in app.button]
    assert not button(app, "Import").disabled
    assert button(app, "Import").help in ("", None)


def test_a_server_for_other_machines_without_accounts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUBHULL_OIDC_ISSUER", "SUBHULL_OIDC_CLIENT_ID", "SUBHULL_OIDC_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    before = config.get_option("server.address")
    try:
        config.set_option("server.address", "127.0.0.1")
        assert "listens to other machines" not in words(opened(None, "home"))
        config.set_option("server.address", "0.0.0.0")
        assert "listens to other machines and has no accounts" in words(opened(None, "home"))
    finally:
        config.set_option("server.address", before)


@pytest.mark.slow
@pytest.mark.usefixtures("starter")
def test_what_is_taken_home_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each button of three pages is pressed, as Streamlit does it: later, in a thread that runs no script."""
    ben, ada = people.sign_in(claims_of(BEN)), people.sign_in(claims_of(ADA))
    offered: dict[str, Any] = {}

    def offer(label: str, data: Any, *_: Any, **__: Any) -> None:
        offered[label] = data

    monkeypatch.setattr("core.ui.downloads.st.download_button", offer)
    (first,) = datasets.load_tensors(datasets.get_dataset("starter")).ids[:1]
    opened(BEN, "datasets", dataset="starter", show="recipe")
    opened(BEN, "datasets", dataset="starter", structure=str(first))
    opened(BEN, "hulls", hull="1")
    with ThreadPoolExecutor(1) as pool:
        files = {label: pool.submit(make).result() for label, make in offered.items()}
    assert all(files.values())
    with acting_as(ada):
        told = [(e.who, e.kind, e.thing) for e in audit.list_entries(actions=["download"]).listed]
    hull = get_hull_by_id(1).row.name
    assert {who for who, *_ in told} == {ben.name}
    assert ("dataset", "starter, JSON lines") in {(kind, thing) for _, kind, thing in told}
    assert ("hull", f"{hull}, CSV") in {(kind, thing) for _, kind, thing in told}
    assert any(kind == "structure" and thing.endswith(", POSCAR") for _, kind, thing in told)
    assert len(told) == len(files)
