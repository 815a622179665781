"""What the ranker looks at, its file, and that it helps."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.evaluation.pool import MatchPool, cells_of
from core.templates.candidates import Asked, find_candidates
from core.templates.features import forget, likeness, pair_features
from core.templates.fitting import Question, fit, measure
from core.templates.library import Library, build_library
from core.templates.propose import built, choose
from core.templates.ranker import FILE, Ranker, load_ranker, save_ranker, shipped
from core.templates.train import ask, choose_targets
from tests.evaluation.real import some_structures
from tests.templates.test_library import LIBRARY


def features_of(library: Library, asked: Asked) -> torch.Tensor:
    candidates = find_candidates(library, asked)
    alike = likeness(library.marks(candidates.places), candidates.order)
    return pair_features(library, asked, candidates, alike)


def test_what_is_forgotten_is_what_a_library_without_it_gives() -> None:
    asked = Asked.of([19, 17], None, None)
    known = features_of(LIBRARY, asked)
    nothing = np.full(len(LIBRARY.rows), math.nan)
    blank = replace(LIBRARY, energy=nothing, above=nothing)
    assert torch.allclose(features_of(blank, asked), forget(known, True, False))
    assert torch.allclose(features_of(replace(LIBRARY, group=0 * LIBRARY.group), asked), forget(known, False, True))


def test_the_file_is_read_as_it_was_written_and_a_broken_one_refused(tmp_path: Path) -> None:
    ranker = Ranker().eval()
    save_ranker(ranker, tmp_path / "ranker.safetensors")
    other = load_ranker(tmp_path / "ranker.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(ranker.parameters(), other.parameters(), strict=True))
    (tmp_path / "broken.safetensors").write_bytes(b"no ranker")
    with pytest.raises(ValueError, match="broken"):
        load_ranker(tmp_path / "broken.safetensors")


def test_one_ships_with_its_card() -> None:
    assert shipped() is not None
    card = json.loads(FILE.with_name("card.json").read_text())
    assert card["parameters"] == sum(p.numel() for p in load_ranker(FILE).parameters())
    assert all(row["ranked"] > row["plain"] for row in card["measured"])


def test_fitting_finds_what_decides_and_how_sure_it_is() -> None:
    """Half of the templates with the smallest first feature are right, and no others."""
    rng = np.random.default_rng(0)
    questions = []
    for formula in range(400):
        pairs = torch.from_numpy(rng.normal(size=(6, 43))).float()
        hits = torch.zeros(6)
        hits[pairs[:, 0].argmin()] = float(rng.random() < 0.5)
        elements = torch.from_numpy(rng.integers(1, 80, (7, 2)))
        row = (elements[0], elements[1:], torch.tensor([0.5, 0.5]), torch.arange(6.0), hits)
        questions.append(Question(formula, (True, True), pairs, *row))
    ranker = fit(questions[:300], questions[300:], 120, 0)
    found = measure(ranker, questions[300:])[-1]
    assert found["ranked"] > 0.6 * found["any"]
    assert found["expected"] == pytest.approx(found["ranked"], abs=0.05)


@pytest.fixture(scope="module")
def real(shared: Path) -> Library:
    """Every eighth structure of the real ones."""
    crystals, _ = some_structures(shared / "data" / "mp_polymorphs.jsonl.gz", 8)
    return build_library(crystals, torch.arange(len(crystals)))


@pytest.mark.slow
def test_it_beats_plain_distance(real: Library) -> None:
    """Real structures asked for by composition, their formulas left out of the library."""
    ranker = shipped()
    pairs = []
    for place in choose_targets(real, 250, 0).tolist():
        target = real.structures[real.rows[[place]]].trim()
        asked = Asked.of(target.numbers[0].tolist(), None, None)
        candidates = find_candidates(real, asked, without=int(real.formula[place]))
        if len(candidates):
            first = [choose(real, asked, candidates, 1, r)[0] for r in (None, ranker)]
            pairs += [(cells_of(built(real, asked, candidates, f))[0], cells_of(target)[0]) for f in first]
    with MatchPool(1) as pool:
        hits = np.array([d is not None for d in pool.submit_cells(pairs).result()["paper"]]).reshape(-1, 2).sum(0)
    assert hits[1] > hits[0]


@pytest.mark.slow
def test_a_question_holds_nothing_of_its_own_formula(real: Library) -> None:
    """Another structure in the place of the target's formula changes no feature but through the fitted volumes."""
    place = int(np.flatnonzero((real.polymorphs > 1) & (real.natoms < 20))[0])
    asked = Asked.of(real.structures[real.rows[[place]]].trim().numbers[0].tolist(), int(real.group[place]), -0.5)
    own = int(real.formula[place])
    candidates = find_candidates(real, asked, without=own)
    assert not (real.formula[candidates.places] == own).any()
    rest = torch.from_numpy(np.flatnonzero(real.formula != own))
    other = replace(build_library(real.structures, rest), volumes=real.volumes)
    assert torch.allclose(
        pair_features(real, asked, candidates, likeness(real.marks(candidates.places), candidates.order)),
        features_of(other, asked),
        atol=1e-5,
    )
    with MatchPool(1) as pool:
        found = ask(real, place, pool)
        assert found is not None
        assert all(q.formula == own for q in found.questions)
        found.verdicts.result()
