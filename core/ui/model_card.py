"""A model's card in words: what it learned from, how, what was measured, what it cost. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from core.cli.common import duration

Card = Mapping[str, Any]
RATE = "match_rate_paper"  # the one that a training shows while it runs, too
_WORDS = {
    "loss": "loss",
    "loss_frac": "loss of coordinates",
    "loss_lattice": "loss of the cell",
    "match_rate_paper": "match rate, paper's tolerances",
    "match_rate_field": "match rate, field's tolerances",
    "rms_paper": "RMS displacement of matches, paper's tolerances",
    "rms_field": "RMS displacement of matches, field's tolerances",
    "valid": "valid structures",
    "group_found_at_0.1_A": "space group found within 0.1 Å",
}
_SHARES = ("match_rate", "valid", "group_found", "novel", "unique")
_RECIPE = {
    "preset": "preset",
    "initial": "begun with the weights of",
    "batch": "batch",
    "learning_rate": "learning rate (peak)",
    "warmup": "warm-up steps",
    "clip": "gradient norm clipped at",
    "weight_decay": "weight decay",
    "ema": "decay of the averaged weights",
    "drop": "conditions left out, share",
    "loss": "loss",
    "geometry": "geometry",
    "noise": "blur of the start",
    "schedule": "noise schedule",
    "path": "way from noise to crystal",
    "precision": "precision",
    "pairs": "pairs of polymorphs",
    "seed": "seed",
}


def number(values: Card, *names: str) -> float | None:
    """The first of these that is a finite number: cards come from strangers too."""
    for name in names:
        value = values.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def metrics_of(card: Card) -> Card:
    """What was measured; {} where the card has none."""
    found = card.get("metrics")
    return found if isinstance(found, Mapping) else {}


def match_rate(card: Card) -> float | None:
    """The match rate on validation structures by the paper's tolerances; a share."""
    return number(metrics_of(card), RATE, f"{RATE}_validation")


def percent(share: float | None) -> str:
    """ "30.7 %", or a dash."""
    return "–" if share is None else f"{100 * share:.1f} %"


def millions(count: float | None) -> str:
    """Parameters: "1.98 M", "305 M", or a dash."""
    return "–" if count is None else f"{count / 1e6:.3g} M"


def measured(card: Card) -> dict[str, str]:
    """Every number with its name in words; shares in percent."""
    lines: dict[str, str] = {}
    for name in map(str, metrics_of(card)):
        value = number(metrics_of(card), name)
        if value is not None:
            stem, words = metric_words(name)
            lines[words] = percent(value) if stem.startswith(_SHARES) else f"{value:.4g}"
    return lines


def metric_words(name: str) -> tuple[str, str]:
    """ "match_rate_paper_training" -> ("match_rate_paper", "match rate, paper's tolerances (training part)").

    What names no part was measured on validation structures, and says nothing.
    """
    stem = name.removeprefix("validation_").removesuffix("_validation")
    on_training = stem.endswith("_training")
    stem = stem.removesuffix("_training")
    return stem, _WORDS.get(stem, stem.replace("_", " ")) + (" (training part)" if on_training else "")


def learned_from(card: Card, config: Card, energy_method: str) -> dict[str, str]:
    """Dataset and what it held."""
    seen = config.get("seen")
    seen = seen if isinstance(seen, Mapping) else {}
    lines = {"dataset": _text(card.get("dataset"), "unknown"), "its content": _text(card.get("dataset_hash"))[:12]}
    structures, formulas = number(seen, "structures"), number(seen, "formulas")
    if structures is not None:
        of = f" of {formulas:,.0f} formulas" if formulas is not None else ""
        lines["structures"] = f"{structures:,.0f}{of}"
    elements = _short(seen.get("elements"), 120)
    lines["elements"] = " ".join(elements[:30]) + (f" … {len(elements)} in all" if len(elements) > 30 else "")
    lines["atoms per cell"] = "–".join(_short(seen.get("natoms"), 2))
    groups = _short(seen.get("space_groups"), 12)
    many = len(seen["space_groups"]) if groups else 0
    lines["space groups"] = f"{many}: {', '.join(groups)}{' …' if many > 12 else ''}" if groups else ""
    energies = seen.get("energies")
    if isinstance(energies, list) and len(energies) == 2 and all(isinstance(e, (int, float)) for e in energies):
        lines["formation energies"] = f"{energies[0]:.3f} to {energies[1]:.3f} eV/atom".replace("-", "−")
    lines["energy method"] = energy_method or "none"
    return {key: value for key, value in lines.items() if value}


def recipe(card: Card, config: Card) -> dict[str, str]:
    """Method, network and hyperparameters."""
    known = card.get("recipe")
    known = known if isinstance(known, Mapping) else {}
    lines = {"method": _text(config.get("method")), "network": _text(config.get("network"))}
    lines |= {words: _value(known[key]) for key, words in _RECIPE.items() if known.get(key) not in (None, "")}
    return {key: value for key, value in lines.items() if value}


def cost(card: Card) -> dict[str, str]:
    """Time, steps and the machine."""
    lines = {}
    minutes, steps, best = number(card, "training_minutes"), number(card, "steps"), number(card, "best_step")
    if minutes is not None:
        pauses = "" if card.get("uninterrupted", True) else ", with pauses"
        lines["training"] = duration(60 * minutes) + pauses
    if steps is not None:
        lines["steps"] = f"{steps:,.0f}" + (f", best at {best:,.0f}" if best is not None and best < steps else "")
    lines |= {"device": _text(card.get("device")), "made": _text(card.get("made")), "torch": _text(card.get("torch"))}
    return {key: value for key, value in lines.items() if value}


def curves(card: Card) -> dict[str, list[tuple[int, float]]]:
    """Losses by step, of cards that carry them: {"loss": [(step, value), …], "validation_loss": …}; {} of others."""
    kept = card.get("curves")
    if not isinstance(kept, Mapping):
        return {}
    found = {name: _series(kept.get(name)) for name in ("loss", "validation_loss")}
    return {name: series for name, series in found.items() if len(series) > 1}


def _series(points: object) -> list[tuple[int, float]]:
    """Those of the first thousand that are a step and a finite number."""
    known = points[:1000] if isinstance(points, list) else []
    pairs = [{"step": p[0], "value": p[1]} for p in known if isinstance(p, list) and len(p) == 2]
    read = [(number(p, "step"), number(p, "value")) for p in pairs]
    return [(int(step), value) for step, value in read if step is not None and value is not None]


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:80]


def _text(value: object, missing: str = "") -> str:
    return value[:300] if isinstance(value, str) and value else missing


def _short(values: object, most: int) -> list[str]:
    return [str(v)[:12] for v in values[:most]] if isinstance(values, list) else []
