"""A transformer over the atoms of a cell and its lattice: small, periodic, blind to the order of atoms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.data.encoding import log_cell
from core.models.state import Conditions, State


@dataclass(frozen=True)
class TransformerConfig:
    """width: channels of a token; frequencies: of the Fourier features of coordinates, 1 … frequencies per cell edge.

    energy_scale: eV/atom that the energy condition is divided by
    plain: coordinates also enter as they are, for methods that leave the cell; cell: encoding of lattices, "log" or
    "vectors"; sees_start: the structure to modify is a condition
    distances: radial features of a pair's shortest distance under the current cell, 0 for none (log cells only)
    templates: it learns to start from structures too (`core.training.templates`), and is told that it does; not from
    which one, since the place at time t and the start together would give the way away
    """

    width: int = 128
    depth: int = 6
    heads: int = 4
    frequencies: int = 8
    energy_scale: float = 1.0
    plain: bool = False
    cell: str = "log"
    sees_start: bool = False
    distances: int = 0
    templates: bool = False

    def check(self) -> None:
        """Raises ValueError for sizes that cannot be built."""
        if not (0 < self.width <= 4096 and 0 < self.depth <= 100 and self.heads > 0 and self.width % self.heads == 0):
            raise ValueError("width, depth or heads are out of bounds")
        if self.cell not in ("log", "vectors") or not 0 < self.frequencies <= 256:
            raise ValueError("the cell must be log or vectors, the frequencies 1 to 256")
        if not 0 <= self.distances <= 256 or (self.distances and self.cell != "log"):
            raise ValueError("distances are 0 to 256, and take log cells")


PRESETS = {
    "quick": TransformerConfig(width=64, depth=2, heads=4, frequencies=4),
    "small": TransformerConfig(distances=16),
    "medium": TransformerConfig(width=256, depth=8, heads=8, distances=32),
}
_FARTHEST = 8.0  # Å: radial features lie between 0 and this


class Transformer(nn.Module):
    """One token per atom and one for the lattice; conditions through adaptive normalisation (DiT, Peebles & Xie 2023).

    Coordinates enter as Fourier features, so they mean the same in every image of the cell. The relative coordinates of
    a pair enter twice: their cosines as a bias to the attention, their sines, which have a direction, in what an atom
    gathers from the others. How far the two are apart in Å under the current cell joins the bias.
    """

    max_sites = None  # any number

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        width = config.width
        features = 6 * config.frequencies
        entries = 6 if config.cell == "log" else 9
        self.element = nn.Embedding(119, width, padding_idx=0)
        self.position = nn.Linear(features + 3 * config.plain, width)
        self.lattice_in = nn.Linear(entries, width)
        if config.sees_start:
            self.start_position = nn.Linear(features, width)
            self.start_lattice = nn.Linear(entries, width)
        self.group = nn.Embedding(231, width)  # 0: not asked
        self.energy = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width))
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        if config.templates:
            self.started = nn.Parameter(torch.zeros(width))
        pair = features // 2 + config.distances
        self.pair = nn.Sequential(nn.Linear(pair, 32), nn.SiLU(), nn.Linear(32, config.depth * config.heads))
        self.blocks = nn.ModuleList(_Block(width, config.heads, features // 2) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.frac_out = nn.Linear(width, 3)
        self.lattice_out = nn.Linear(width, entries)
        for layer in (self.modulation, self.frac_out, self.lattice_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("waves", 2 * math.pi * torch.arange(1, config.frequencies + 1), persistent=False)
        self.waves: Tensor

    def forward(self, state: State, t: Tensor, conditions: Conditions) -> State:
        """(B, N) atoms and t (B,) in [0, 1] -> a state of the same shapes; 0 at padding."""
        mask = state.mask
        tokens = self._tokens(state, conditions)
        condition = functional.silu(self._condition(t, conditions))
        bias, directions = self._pairs(state)
        for block, block_bias in zip(self.blocks, bias, strict=True):
            tokens = block(tokens, condition, block_bias, directions)
        shift, scale = self.modulation(condition)[:, None].chunk(2, -1)
        tokens = self.norm(tokens) * (1 + scale) + shift
        frac = self.frac_out(tokens[:, 1:]) * mask[:, :, None]
        lattice = self.lattice_out(tokens[:, 0])
        return State(frac, _symmetric(lattice) if self.config.cell == "log" else lattice.view(-1, 3, 3), mask)

    def _tokens(self, state: State, conditions: Conditions) -> Tensor:
        """(B, N + 1, width): the lattice, then the atoms."""
        where = self._fourier(state.frac)
        if self.config.plain:
            where = torch.cat([where, state.frac], -1)
        atoms = self.element(conditions.numbers) + self.position(where)
        lattice = self.lattice_in(self._entries(state.lattice))
        if self.config.sees_start:
            if conditions.start is None:
                raise ValueError("this network is told the structure to modify, and there is none")
            atoms = atoms + self.start_position(self._fourier(conditions.start.frac))
            lattice = lattice + self.start_lattice(self._entries(conditions.start.lattice))
        return torch.cat([lattice[:, None], atoms], 1)

    def _fourier(self, frac: Tensor) -> Tensor:
        """(B, N, 3) -> (B, N, 6 K)."""
        angles = frac[..., None] * self.waves
        return torch.cat([angles.sin(), angles.cos()], -1).flatten(2)

    def _entries(self, lattice: Tensor) -> Tensor:
        return _upper(lattice) if self.config.cell == "log" else lattice.flatten(1)

    def _condition(self, t: Tensor, conditions: Conditions) -> Tensor:
        """(B, width) of time, space group and energy; what is not given counts as absent, not as zero."""
        frequency = torch.exp(torch.linspace(0, math.log(1000), 32, device=t.device, dtype=t.dtype))
        wave = t[:, None] * frequency
        group_given, energy_given = conditions.present.unbind(1)
        group = self.group(torch.where(group_given, conditions.group, 0))
        energy = torch.where(energy_given, conditions.energy / self.config.energy_scale, 0.0)
        described = torch.stack([energy, energy_given.to(energy.dtype)], 1)
        condition: Tensor = self.time(torch.cat([wave.sin(), wave.cos()], 1)) + group + self.energy(described)
        started = self.config.templates and conditions.start is not None
        return condition + self.started if started else condition

    def _pairs(self, state: State) -> tuple[list[Tensor], Tensor]:
        """Per block a bias (B, heads, N + 1, N + 1), −∞ towards padding; and directions (B, N + 1, N + 1, 3 K)."""
        between = state.frac[:, None] - state.frac[:, :, None]  # (B, N, N, 3): from i to j
        angles = between[..., None] * self.waves  # (B, N, N, 3, K)
        features = angles.cos().flatten(3)
        if self.config.distances:
            features = torch.cat([features, self._radial(between, state)], -1)
        pair = self.pair(features).permute(3, 0, 1, 2)  # (depth · heads, B, N, N)
        bias = functional.pad(pair, (1, 0, 1, 0))
        padding = functional.pad(~state.mask, (1, 0))[None, :, None]
        bias = bias.masked_fill(padding, -torch.inf)
        directions = functional.pad(angles.sin().flatten(3), (0, 0, 1, 0, 1, 0))
        return [b.transpose(0, 1) for b in bias.split(self.config.heads)], directions

    def _radial(self, between: Tensor, state: State) -> Tensor:
        """(B, N, N, distances): Gaussians of how far the nearest images of two atoms are apart.

        The nearest in fractional coordinates is taken, which in a strongly skewed cell may not be the nearest in Å.
        """
        cell = torch.linalg.matrix_exp(log_cell(state))
        apart = ((between - between.round()) @ cell[:, None]).norm(dim=-1, keepdim=True)
        centres = torch.linspace(0, _FARTHEST, self.config.distances, device=apart.device, dtype=apart.dtype)
        return torch.exp(-0.5 * ((apart - centres) * (self.config.distances / _FARTHEST)) ** 2)


class _Block(nn.Module):
    """Attention and a feed-forward layer, each shifted, scaled and gated by the condition (adaLN-Zero)."""

    def __init__(self, width: int, heads: int, directions: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width + heads * directions, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, condition: Tensor, bias: Tensor, directions: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, -1)
        b, n, width = tokens.shape
        inputs = self.norms[0](tokens) * (1 + scale1) + shift1
        query, key, value = self.qkv(inputs).view(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        share = torch.softmax(query @ key.mT / math.sqrt(query.shape[-1]) + bias, -1)  # (B, heads, N + 1, N + 1)
        mixed = (share @ value).transpose(1, 2).reshape(b, n, width)
        moved = (share.transpose(1, 2) @ directions).reshape(b, n, -1)  # per i: (heads, j) @ (j, 3 K)
        tokens = tokens + gate1 * self.out(torch.cat([mixed, moved], -1))
        feed: Tensor = self.feed(self.norms[1](tokens) * (1 + scale2) + shift2)
        return tokens + gate2 * feed


def _upper(lattice: Tensor) -> Tensor:
    """(B, 3, 3) symmetric -> (B, 6)."""
    rows, columns = torch.triu_indices(3, 3)
    return lattice[:, rows, columns]


def _symmetric(upper: Tensor) -> Tensor:
    """(B, 6) -> (B, 3, 3) symmetric."""
    rows, columns = torch.triu_indices(3, 3)
    matrix = upper.new_zeros(len(upper), 3, 3)
    matrix[:, rows, columns] = upper
    matrix[:, columns, rows] = upper
    return matrix
