"""From names and a few numbers to what a training needs: sampler, network, budget, sources of examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from core.data.fitted_pairs import PairCells
from core.data.pairs import PAIRS, PairRules, draw_pairs, lowest_energy_pairs, pair_groups
from core.data.tensors import TRAIN, VALIDATION, TensorData
from core.models.registry import NETWORKS, as_values, configure
from core.samplers.geometry import CELLS
from core.samplers.protocol import Sampler, needs
from core.samplers.registry import METHODS, STEPS, sampler_for, sampler_values
from core.training.data import GenerationSource, ModificationSource, Source
from core.training.devices import resolve
from core.training.losses import LOSSES
from core.training.presets import TrainConfig, hyperparameters
from core.training.templates import TemplateSource, TemplateStarts


@dataclass(frozen=True)
class Plan:
    """A training with every default filled in. values: every hyperparameter, as the card keeps them."""

    task: str
    method: str
    network: str
    values: dict[str, Any]
    sampler: Sampler
    network_config: dict[str, Any]
    config: TrainConfig

    @property
    def cell(self) -> str:
        """How cells are encoded (`core.data.encoding`)."""
        return CELLS[self.sampler.geometry]

    def within(self, data: TensorData) -> TensorData:
        """What the network can hold of it: larger structures are in no part."""
        return data.up_to(NETWORKS[self.network].max_sites)

    def too_large(self, data: TensorData) -> int:
        """Structures of the training part that the network cannot hold."""
        return len(data.part(TRAIN)) - len(self.within(data).part(TRAIN))

    def like(self, model: Mapping[str, Any]) -> Plan:
        """The same with the network of another model's configuration, whose weights it begins with.

        Of what a network is told, it keeps to this method's: a flow that begins at a structure would read off the way
        where it sees that structure too. Raises ValueError for a network of another kind, or cells in another encoding.
        """
        own, config = self.network_config, model["network_config"]
        if model["network"] != self.network or config.get("cell") != own.get("cell"):
            raise ValueError(
                f"A {self.network} of this method cannot begin with the weights of that {model['network']}."
            )
        told = {k: own[k] for k in ("sees_start", "templates") if k in own}
        return replace(self, network_config=dict(config) | told)

    def model_config(self) -> dict[str, Any]:
        """What config.json of the model says of how it is built and sampled."""
        return {
            "task": self.task,
            "method": self.method,
            "sampler": sampler_values(self.sampler),
            "network": self.network,
            "network_config": self.network_config,
        }


def make_plan(task: str, method: str, network: str, preset: str, given: Mapping[str, Any]) -> Plan:
    """The preset's defaults, and what is `given` by the names of `TrainConfig` and `hyperparameters`.

    None and "" leave the default; method "" takes the task's first. "templates": the network learns to start from them
    too. Raises ValueError for what cannot be.
    """
    method = method or next(iter(METHODS.get(task, {"": None})))
    said = {k: v for k, v in given.items() if v is not None and v != ""}
    defaults = hyperparameters(network, preset, method)
    values = defaults | {k: v for k, v in said.items() if k in defaults}
    sampler = sampler_for(task, method, **{k: values[k] for k in ("geometry", "noise", "schedule", "path")})
    network_config = configure(network, preset, **needs(sampler), templates=bool(given.get("templates")))
    _check(values)
    known = {f.name for f in fields(TrainConfig)}
    steps = {"sample_steps": STEPS[method]}
    config = TrainConfig(**{k: v for k, v in (steps | values | said).items() if k in known})
    return Plan(task, method, network, values, sampler, as_values(network_config), config)


def make_sources(plan: Plan, data: TensorData, templates: TemplateStarts | None = None) -> tuple[Source, Source | None]:
    """What is learned from, and what is validated on: of pairs the lowest-energy ones, as in the paper.

    templates: starts for generation, beside noise. The second is None where there is nothing held out. What the network
    cannot hold is left out. Raises ValueError where a dataset has no pairs.
    """
    data = plan.within(data)
    learning, validation = data.part(TRAIN), data.part(VALIDATION)
    if plan.task == "generation":
        held_out = GenerationSource(data.crystals, validation, plan.cell) if len(validation) else None
        source = GenerationSource(data.crystals, learning, plan.cell)
        return (TemplateSource.of(source, templates, plan.config.seed) if templates else source), held_out
    rules = PAIRS[plan.values["pairs"]]
    rules = replace(rules, most_sites=min(rules.most_sites, NETWORKS[plan.network].max_sites or rules.most_sites))
    groups = pair_groups(data, learning, rules)
    if not len(groups.sizes):
        raise ValueError(
            "This dataset has nothing to learn modification from: it needs formulas with two or more structures with "
            "energies of one source" + (", of one cell size." if rules.same_size else ".")
        )
    fixed = lowest_energy_pairs(
        pair_groups(data, validation, PairRules(same_size=rules.same_size, most_sites=rules.most_sites))
    )
    cells = PairCells(data.crystals, data.fits)

    def draw(epoch: int) -> Tensor:
        return draw_pairs(groups, plan.config.seed, epoch)

    def same(_: int) -> Tensor:
        return fixed

    learned = ModificationSource(cells, draw, draw(0), plan.cell)
    return learned, ModificationSource(cells, same, fixed, plan.cell) if len(fixed) else None


def _check(values: Mapping[str, Any]) -> None:
    """Raises ValueError."""
    if values["batch"] < 1 or not 0 < values["learning_rate"] < 1:
        raise ValueError("The batch must be 1 or more, the learning rate between 0 and 1.")
    if not (0 <= values["ema"] < 1 and 0 <= values["drop"] < 1):
        raise ValueError("The decay of the averaged weights and the share of conditions left out lie in [0, 1).")
    if min(values["warmup"], values["clip"], values["weight_decay"], values["noise"]) < 0:
        raise ValueError("Warm-up, clipping, weight decay and noise cannot be negative.")
    for name, choices in (("loss", LOSSES), ("pairs", PAIRS)):
        if values[name] not in choices:
            raise ValueError(f"There is no {name} {values[name]!r}: choose {', '.join(choices)}.")
    resolve(values["precision"], "cpu")
