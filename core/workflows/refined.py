"""Templates brought into shape by a network: `refine:MODEL:DATASET`, and `best:MODEL:DATASET` with its own beside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import nn

from core.crystals import Crystals, concatenate
from core.data.encoding import encode
from core.data.fitted_pairs import starts_of
from core.data.symmetry_operations import operations_of
from core.samplers.drawing import draw_crystals, keeps_symmetry
from core.samplers.flow import FlowMatching
from core.samplers.protocol import Sampler
from core.workflows.context import Cancelled, Context, UserError
from core.workflows.design_cost import draw_seconds
from core.workflows.method import About, Asked, Drawn, Method, Origin, Wanted
from core.workflows.models import LoadedModel
from core.workflows.substitution import Substitution, alike

REFINE, BEST = "refine:", "best:"
LATE = 0.7  # time at which a network that never learned from templates takes one up
OWN = 0.1  # confidence of a network's own draw, beside that of templates: at 0.3 matches of mp_polymorphs are lost
SYMPREC = 0.01  # Å, of the operations that a template keeps


class Refined:
    """Templates as the start of a network's flow, each kept on its own symmetry; the k-th sample is the k-th template.

    A generator that learned to start from templates begins there, another one late on its way from noise; a modifier
    takes the template for the structure to modify. Without a template there is no answer.
    """

    def __init__(self, model: LoadedModel, about: About, templates: Substitution) -> None:
        """about: the model's. Raises UserError for one that cannot begin at a structure."""
        self.model, self.templates = model, templates
        self.sampler = begun(model)
        self.about = about_pair(REFINE, about, templates.about)

    def refuses(self, asked: Asked) -> list[str]:
        limit = self.about.max_sites
        return [f"more than {limit} atoms" if limit and n > limit else "" for n in (asked.numbers > 0).sum(1).tolist()]

    def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
        """A refined template for each, or none. Raises Cancelled and UserError."""
        found = self.templates.draw(asked, 1, context)
        if not len(found):
            return found
        crystals = self.refined(found.crystals, asked[torch.tensor(found.which)], steps, context)
        return Drawn(crystals, found.which, found.origins)

    def refined(self, templates: Crystals, asked: Asked, steps: int, context: Context) -> Crystals:
        """Templates (B) moved by the network towards what was asked of each."""
        energy = asked.energy if asked.start is None else asked.start.energy.double() + asked.energy
        if self.model.row.task == "modification":
            energy = torch.full_like(energy, torch.nan)  # a template's own energy is not known, nor a change from it
        templates = starts_of(templates, [1] * len(templates))  # reduced, as what the network learned from
        told = Asked(templates.numbers, asked.group, energy, None, asked.sample, asked.seeds)
        conditions = told.conditions(encode(templates, self.model.cell))
        operations = operations_of(templates, SYMPREC) if keeps_symmetry(self.sampler) else None

        def stop(_: int) -> bool:
            return context.cancelled()

        network: nn.Module = self.model.network.to(context.device)
        crystals = draw_crystals(network, self.sampler, conditions, asked.seeds, steps, stop, operations=operations)
        if context.cancelled():
            raise Cancelled
        return crystals.to(dtype=torch.float64)

    def check(self, formulas: Iterable[str], groups: Sequence[int] = (), starts: Sequence[Crystals] = ()) -> None:
        self.templates.check(formulas, groups, starts)

    def start_energy(self, start: Crystals) -> float | None:
        return self.templates.start_energy(start)

    def unfamiliar(self, wanted: Wanted) -> list[str]:
        return self.templates.unfamiliar(wanted)

    def seconds(self, sizes: Sequence[int], steps: int, device: str = "cpu") -> float:
        return self.templates.seconds(sizes, 1) + draw_seconds(self.model, sizes, steps, device)


class Best:
    """Templates where they are likely, and a network's own draws where they are not.

    Samples of one wish are ordered by confidence: a template's, and of the network's own draws that each is right
    where none before it is. So there is an answer for every sample. The templates stay as they are: the networks that
    ship find fewer known structures with them refined (benchmarks/README.md).
    """

    def __init__(self, templates: Substitution, own: Method) -> None:
        """own: the trained model by itself."""
        self._source, self._own = templates, own
        self.about = about_pair(BEST, own.about, templates.about)

    def refuses(self, asked: Asked) -> list[str]:
        return self._own.refuses(asked)

    def draw(self, asked: Asked, steps: int, context: Context) -> Drawn:
        """One for each. Raises Cancelled and UserError."""
        parts: list[tuple[int, Crystals, Origin | None]] = []
        templates = self._templates(asked, context)
        own = [i for i in range(len(asked)) if i not in templates]
        if own:
            mine = self._own.draw(self._told(asked, own), steps, context)
            parts += [(own[k], mine.crystals[[i]], None) for i, k in enumerate(mine.which)]
        parts += [(i, crystal, origin) for i, (crystal, origin) in templates.items()]
        parts.sort(key=lambda part: part[0])
        joined = concatenate([crystal.to(dtype=torch.float64) for _, crystal, _ in parts])
        return Drawn(joined, [i for i, _, _ in parts], [origin for _, _, origin in parts])

    def _templates(self, asked: Asked, context: Context) -> dict[int, tuple[Crystals, Origin | None]]:
        """Place in the batch -> its template, of those whose turn it is."""
        found: dict[int, tuple[Crystals, Origin | None]] = {}
        for places in alike(asked):
            if context.cancelled():
                raise Cancelled
            first = asked[torch.tensor(places[:1])]
            proposals = self._source.proposals(first, max(asked.sample[i] for i in places) + 1)
            for i in places:
                k = turn(asked.sample[i], proposals.confidence.tolist())
                if k is not None:
                    found[i] = proposals.crystals[[k]], self._source.origin(proposals, k)
        return found

    def _told(self, asked: Asked, places: list[int]) -> Asked:
        """What the network itself is told: a generator knows no start, so a change becomes an energy."""
        one = asked[torch.tensor(places)]
        if one.start is None or self._own.about.task == "modification":
            return one
        return replace(one, start=None, energy=one.start.energy.double() + one.energy)

    def check(self, formulas: Iterable[str], groups: Sequence[int] = (), starts: Sequence[Crystals] = ()) -> None:
        self._own.check(formulas, groups, starts)

    def start_energy(self, start: Crystals) -> float | None:
        return self._source.start_energy(start)

    def unfamiliar(self, wanted: Wanted) -> list[str]:
        return self._own.unfamiliar(wanted)

    def seconds(self, sizes: Sequence[int], steps: int, device: str = "cpu") -> float:
        return self._source.seconds(sizes, 1) + self._own.seconds(sizes, steps, device)


def turn(sample: int, confidence: Sequence[float]) -> int | None:
    """Which template the sample of this number is, by their falling confidence; None for a draw of the network's own.

    The network's j-th own draw is right where none before it was with OWN · (1 − OWN)^j.
    """
    template = own = 0
    for _ in range(sample + 1):
        likely = OWN * (1 - OWN) ** own
        takes = template < len(confidence) and confidence[template] >= likely
        template, own = (template + 1, own) if takes else (template, own + 1)
    return template - 1 if takes else None


def begun(model: LoadedModel) -> Sampler:
    """The sampler as it begins at a given structure. Raises UserError for a method that cannot."""
    sampler = model.sampler
    if model.row.task == "modification":
        return sampler
    if not isinstance(sampler, FlowMatching):
        raise UserError(f"{model.row.name} cannot begin at a template: it did not learn by flow matching.")
    learned = bool(getattr(getattr(model.network, "config", None), "templates", False))
    # annealing is for what begins at noise, and blurs are for learning: both displace templates
    return replace(sampler, begin=0.0 if learned else LATE, annealing=0.0, noise=0.0)


def about_pair(kind: str, model: About, templates: About) -> About:
    """What is known of a network and a dataset of templates together; kind: REFINE or BEST."""
    return replace(
        model,
        name=f"{kind}{model.name}:{templates.dataset}",
        hash=hashlib.sha256(f"{kind}{model.hash}{templates.hash}".encode()).hexdigest(),
        task="modification" if kind == BEST and model.task == "modification" else "",
        samplers=(),
        fixed=False,
    )
