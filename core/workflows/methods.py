"""Methods by name: trained models, and templates of the datasets beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from pymatgen.core import Element

from core.crystals import Crystals
from core.data.encoding import encode
from core.data.formulas import atomic_numbers, parse_formula
from core.samplers.drawing import draw_crystals
from core.samplers.registry import STEPS, draws_of
from core.workflows.compositions import MAX_SITES
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.datasets import list_datasets
from core.workflows.design_cost import draw_seconds
from core.workflows.familiar import outside
from core.workflows.held import draw_held, site_weights
from core.workflows.method import About, Asked, Drawn, Method, Wanted
from core.workflows.models import LoadedModel, config_of, list_models, load_model
from core.workflows.refined import BEST, REFINE, Best, Refined, about_pair
from core.workflows.substitution import SUBSTITUTION, Substitution, about_dataset
from db.tables import Model

START = "start"


def find_method(name: str, sampler: str = "", hold_group: bool = False, sites: str = "") -> Method:
    """By the name that a user gives (`parts_of`): a model's, or that of a dataset's templates. Raises UserError.

    sampler: a way of drawing, "" for its own; hold_group: a generator starts on the space group asked for and keeps it
    sites: a dataset whose structures say on which sites it starts, "" for any that fit
    """
    kind, trained, dataset = parts_of(name)
    if kind == SUBSTITUTION:
        if sampler:
            raise UserError(f"{name} has no sampler: leave {sampler!r} out.")
        return Substitution(dataset)
    own = Trained(load_model(trained).drawn_by(sampler).holding(hold_group, sites))
    if not kind:
        return own
    templates = Substitution(dataset)
    return Refined(own.model, own.about, templates) if kind == REFINE else Best(templates, own)


def parts_of(name: str) -> tuple[str, str, str]:
    """(kind, model, dataset) of a name: "refine:a:mp" -> ("refine:", "a", "mp"), "a" -> ("", "a", "").

    Raises UserError where one of them is missing.
    """
    if name.startswith(SUBSTITUTION):
        return SUBSTITUTION, "", name.removeprefix(SUBSTITUTION)
    kind = next((k for k in (REFINE, BEST) if name.startswith(k)), "")
    trained, _, dataset = name.removeprefix(kind).partition(":") if kind else (name, "", "")
    if kind and not (trained and dataset):
        raise UserError(f"Name a model and a dataset of templates: {kind}MODEL:DATASET.")
    return kind, trained, dataset


def method_for(task: str, name: str, sampler: str = "", hold_group: bool = False, sites: str = "") -> Method:
    """The same for a task, "generation" or "modification". Raises UserError where the method is for another."""
    method = find_method(name, sampler, hold_group, sites)
    if method.about.task not in ("", task):
        does = "modifies" if task == "generation" else "generates"
        raise UserError(f"{name} {does} structures; choose a model for {task}.")
    return method


def list_methods(task: str | None = None) -> list[str]:
    """Names of trained models, newest first, and below them of what the datasets are templates for."""
    return [m.name for m in list_models(task)] + [about.name for about in list_templates(task)]


def list_templates(task: str | None = None) -> list[About]:
    """Substitution in each dataset, and with each trained model of a task that a dataset is here for: its own."""
    datasets = [about_dataset(d) for d in list_datasets()]
    models = [about_model(m) for m in list_models(task) if str(config_of(m).get("method")).startswith("cfm")]
    pairs = [(m, d) for m in models for d in datasets if m.dataset_hash == d.hash]
    return datasets + [about_pair(kind, m, d) for kind in (REFINE, BEST) for m, d in pairs]


def is_substitution(name: str) -> bool:
    """Are its answers known structures, and no network's?"""
    return name.startswith(SUBSTITUTION)


_LABELS = {SUBSTITUTION: "substitution in {dataset}", REFINE: "substitution in {dataset}, refined by {model}",
           BEST: "the best of {model} and substitution in {dataset}"}  # fmt: skip


def name_of(label: str) -> str:
    """The name of what `label_of` called so; a name stays as it is."""
    for kind, words in _LABELS.items():
        form = re.escape(words).replace(r"\{dataset\}", "(?P<dataset>.+)").replace(r"\{model\}", "(?P<model>.+)")
        if (found := re.fullmatch(form, label)) and (kind != SUBSTITUTION or ", refined by " not in label):
            known = found.groupdict()
            return kind + (f"{known['model']}:" if "model" in known else "") + known["dataset"]
    return label


def label_of(name: str) -> str:
    """How a method is called on a page: "substitution in mp"."""
    kind = next((k for k in _LABELS if name.startswith(k)), "")
    if not kind or name.count(":") != (1 if kind == SUBSTITUTION else 2):
        return name
    _, model, dataset = parts_of(name)
    return _LABELS[kind].format(model=model, dataset=dataset)


def about_model(row: Model) -> About:
    """What the store says of a trained model; its network is not looked at."""
    steps = STEPS.get(str(config_of(row).get("method")), 50)
    dataset, digest = (str(row.card.get(key) or "") for key in ("dataset", "dataset_hash"))
    return About(row.name, row.hash, row.task, row.energy_method, dataset, digest, steps=steps)


class Trained:
    """A trained model."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.about = replace(
            about_model(model.row),
            seen=model.seen,
            max_sites=getattr(model.network, "max_sites", None) or None,
            steps=model.steps,
            samplers=draws_of(model.sampler),
            fixed=model.method == "regression",
        )
        self._held = partial(draw_held, weights=site_weights(model.sites) if model.sites else None)

    def refuses(self, asked: Asked) -> list[str]:
        limit = self.about.max_sites or MAX_SITES
        seen = self.model.seen.get("elements")
        known = None if seen is None else {Element(symbol).Z for symbol in seen}
        return [_refusal(numbers, limit, known) for numbers in asked.numbers.numpy()]

    def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
        """One crystal for each, from a seed of its own. Raises Cancelled between steps, and UserError."""
        self._check_sites(asked.numbers.shape[1])
        start = None if asked.start is None else encode(asked.start, self.model.cell)

        def stop(_: int) -> bool:
            return context.cancelled()

        network = self.model.network.to(context.device)
        drawing = self._held if self.model.hold_group else draw_crystals
        crystals = drawing(network, self.model.sampler, asked.conditions(start), asked.seeds, steps, stop)
        if context.cancelled():
            raise Cancelled
        return Drawn(crystals, list(range(len(asked))), [None] * len(asked))

    def check(self, formulas: Iterable[str], groups: Sequence[int] = (), starts: Sequence[Crystals] = ()) -> None:
        """Raises UserError where the network cannot hold so many atoms."""
        for formula in formulas:
            self._check_sites(len(atomic_numbers(parse_formula(formula))))

    def _check_sites(self, natoms: int) -> None:
        limit = self.about.max_sites
        if limit and natoms > limit:
            raise UserError(f"{self.about.name} holds {limit} atoms in a cell; {natoms} are asked for.")

    def start_energy(self, start: Crystals) -> float | None:
        return None

    def unfamiliar(self, wanted: Wanted) -> list[str]:
        cells = [(f, len(atomic_numbers(parse_formula(f)))) for f in wanted.formulas]
        return outside(self.about.seen, cells, wanted.groups, wanted.energies, wanted.compositions)

    def seconds(self, sizes: Sequence[int], steps: int, device: str = "cpu") -> float:
        return draw_seconds(self.model, sizes, steps, device)


class Start:
    """The structure to modify, as it is: what a modifier must beat."""

    about = About(START, task="modification")

    def refuses(self, asked: Asked) -> list[str]:
        return [""] * len(asked)

    def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
        if asked.start is None:
            raise UserError("The baseline start modifies nothing: it needs pairs of structures.")
        return Drawn(asked.start, list(range(len(asked))), [None] * len(asked))

    def check(self, formulas: Iterable[str], groups: Sequence[int] = (), starts: Sequence[Crystals] = ()) -> None:
        return None

    def start_energy(self, start: Crystals) -> float | None:
        return None

    def unfamiliar(self, wanted: Wanted) -> list[str]:
        return []

    def seconds(self, sizes: Sequence[int], steps: int, device: str = "cpu") -> float:
        return 0.0


def _refusal(numbers: np.ndarray, limit: int, known: set[int] | None) -> str:
    if (numbers > 0).sum() > limit:
        return f"more than {limit} atoms"
    strange = set() if known is None else set(numbers.tolist()) - {0} - known
    return "an element that the model never saw" if strange else ""
