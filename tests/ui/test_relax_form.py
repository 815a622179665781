"""What the page asks of a relaxation is what the job gets."""

from __future__ import annotations

from typing import Any

import pytest

from core.jobs import queue
from core.workflows.relax import RelaxParams
from tests.ui.test_pages import open_page, run  # noqa: F401


def test_choices_go_into_the_job(run: int, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(queue, "submit", lambda *a: asked.append(a) or 1)
    app = open_page("candidates", run=str(run), do="relax")
    next(t for t in app.toggle if t.label == "Keep the space group").set_value(True)
    next(t for t in app.toggle if t.label == "Relax the cell too").set_value(False)
    next(n for n in app.number_input if n.label.startswith("Largest force")).set_value(0.02)
    next(n for n in app.number_input if n.label == "Steps, at most").set_value(40)
    next(b for b in app.button if b.label.startswith("Relax ")).click().run()
    kind, _, params, device = asked[0]
    assert (kind, device) == ("relax", "cpu")
    assert isinstance(params, RelaxParams)
    assert (params.potential, params.cell, params.symmetry, params.fmax, params.steps) == (
        "chgnet",
        False,
        True,
        0.02,
        40,
    )
    assert len(params.candidate_ids) >= 1
