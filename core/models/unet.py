"""The paper's network: a 1D U-Net over the 64 rows of its matrix (its section 4.3, after Nichol & Dhariwal 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.data.matrix import FEATURES, ROWS, SITES
from core.models.state import Conditions, State


@dataclass(frozen=True)
class UNetConfig:
    """base: channels of the first level; multipliers: of each level, which halves the rows of the one before

    blocks: residual blocks a level; attention: at these downsamplings; asked: channels of the encoded conditions
    plain: coordinates enter as they are (the paper), else wrapped into the cell
    cell: encoding of the lattice rows, "vectors" (the paper) or "log", whose matrices are symmetric
    sees_start: the structure to modify is a condition; time_scale: what t = 1 is to the time embedding
    """

    base: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    blocks: int = 7
    attention: tuple[int, ...] = (1, 2, 4, 8)
    asked: int = 256
    plain: bool = True
    cell: str = "vectors"
    sees_start: bool = False
    time_scale: float = 1.0

    def check(self) -> None:
        """Raises ValueError for sizes that cannot be built."""
        levels = len(self.multipliers)
        sizes = [self.base, self.blocks, self.asked, *self.multipliers]
        if not (1 <= levels <= 6 and all(isinstance(n, int) and 1 <= n <= 1024 for n in sizes) and self.blocks <= 20):
            raise ValueError("base, multipliers, blocks or asked are out of bounds")
        if self.base % 32 or self.cell not in ("log", "vectors") or self.base * max(self.multipliers) > 4096:
            raise ValueError("base must be a multiple of 32, the cell log or vectors")


PRESETS = {
    "quick": UNetConfig(base=32, multipliers=(1, 2), blocks=1, attention=(2,), asked=32),
    "small": UNetConfig(base=64, multipliers=(1, 2, 3), blocks=2, attention=(1, 2, 4), asked=64),
    "paper": UNetConfig(),
}


class Tables(NamedTuple):
    """What is known beforehand: elements, one-hot and properties (119, 125), and operations (231, 192, 4, 4)."""

    features: Tensor
    operations: Tensor


class UNet(nn.Module):
    """(state, t, conditions) -> a state, through the paper's 64 × 3 matrix: 60 rows of coordinates, zeros, the cell.

    Atoms are rows in their order, so the network is neither periodic nor blind to order. What is not asked for (space
    group, energy) enters as zeros. Space groups and compositions are encoded once per distinct one in the batch.
    """

    max_sites = SITES

    def __init__(self, config: UNetConfig, tables: Tables) -> None:
        super().__init__()
        config.check()
        self.config = config
        width = 4 * config.base
        self.time = nn.Sequential(nn.Linear(config.base, width), nn.SiLU(), nn.Linear(width, width))
        self.asked = _Asked(config, tables, width)
        self.body = _Body(config, width)

    def forward(self, state: State, t: Tensor, conditions: Conditions) -> State:
        """(B, N) atoms, N at most 60, and t (B,) in [0, 1] -> a state of the same shapes; 0 at padding.

        Raises ValueError for more than 60 sites.
        """
        n = state.frac.shape[1]
        if n > SITES:
            raise ValueError(f"the U-Net holds {SITES} sites, not {n}")
        embedded = self.time(_sinusoidal(t * self.config.time_scale, self.config.base)) + self.asked(conditions)
        rows = self.body(self._pack(state).mT, embedded).mT
        lattice = rows[:, ROWS - 3 :]
        if self.config.cell == "log":
            lattice = (lattice + lattice.mT) / 2
        return State(rows[:, :n] * state.mask[:, :, None], lattice, state.mask)

    def _pack(self, state: State) -> Tensor:
        """(B, 64, 3)."""
        frac = state.frac if self.config.plain else state.frac - state.frac.floor()
        matrix = state.frac.new_zeros(len(state), ROWS, 3)
        matrix[:, : frac.shape[1]] = frac * state.mask[:, :, None]
        matrix[:, ROWS - 3 :] = state.lattice
        return matrix


class _Asked(nn.Module):
    """The conditions as one vector: elements, space group, energy and, where told, the start."""

    def __init__(self, config: UNetConfig, tables: Tables, width: int) -> None:
        super().__init__()
        a = config.asked
        self.sees_start = config.sees_start
        self.elements = nn.Sequential(
            nn.Conv1d(FEATURES, 64, 3), nn.GELU(), nn.Conv1d(64, 128, 3), nn.GELU(), nn.Conv1d(128, a, 3), nn.GELU()
        )
        self.elements_out = nn.Linear((ROWS - 6) * a, a)
        self.group = nn.Sequential(
            nn.Conv2d(192, 64, 2), nn.LeakyReLU(0.2), nn.Conv2d(64, 128, 2), nn.LeakyReLU(0.2), nn.Conv2d(128, a, 2)
        )
        if config.sees_start:
            self.start = nn.Sequential(nn.Conv1d(ROWS, 128, 2), nn.GELU(), nn.Conv1d(128, 256, 2), nn.GELU())
            self.start_out = nn.Linear(256, a)
        self.out = nn.Linear((3 if config.sees_start else 2) * a + 1, width)
        self.register_buffer("features", tables.features, persistent=False)
        self.register_buffer("operations", tables.operations, persistent=False)
        self.features: Tensor
        self.operations: Tensor

    def forward(self, conditions: Conditions) -> Tensor:
        group_given, energy_given = conditions.present.unbind(1)
        energy = torch.where(energy_given, conditions.energy, 0.0)[:, None]
        parts = [self._elements(conditions.numbers), self._group(torch.where(group_given, conditions.group, 0)), energy]
        if self.sees_start:
            parts.append(self._start(conditions))
        return self.out(torch.cat(parts, 1).to(self.out.weight.dtype))

    def _elements(self, numbers: Tensor) -> Tensor:
        distinct, place = torch.unique(numbers, dim=0, return_inverse=True)
        rows = numbers.new_zeros(len(distinct), ROWS)
        rows[:, : numbers.shape[1]] = distinct
        encoded = self.elements(self.features[rows].mT)
        return self.elements_out(encoded.flatten(1))[place]

    def _group(self, group: Tensor) -> Tensor:
        distinct, place = torch.unique(group, return_inverse=True)
        return self.group(self.operations[distinct]).flatten(1)[place]

    def _start(self, conditions: Conditions) -> Tensor:
        given = conditions.start
        if given is None:
            raise ValueError("this network is told the structure to modify, and there is none")
        matrix = given.frac.new_zeros(len(given), ROWS, 3)
        matrix[:, : given.frac.shape[1]] = given.frac * given.mask[:, :, None]
        matrix[:, ROWS - 3 :] = given.lattice
        return self.start_out(self.start(matrix).flatten(1))


class _Body(nn.Module):
    """3 channels of 64 rows -> 3 channels of 64 rows: down, middle and up, with skips."""

    def __init__(self, config: UNetConfig, embedded: int) -> None:
        super().__init__()
        last = len(config.multipliers) - 1
        channels, kept = config.base, [config.base]
        self.first = nn.Conv1d(3, channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, multiplier in enumerate(config.multipliers):
            for _ in range(config.blocks):
                attends = 2**level in config.attention
                self.down.append(_Stage(channels, config.base * multiplier, embedded, attends))
                channels = config.base * multiplier
                kept.append(channels)
            if level < last:
                self.down.append(_Down(channels))
                kept.append(channels)
        self.middle = nn.ModuleList(
            [_Stage(channels, channels, embedded, True), _Stage(channels, channels, embedded, False)]
        )
        for level in range(last, -1, -1):
            for i in range(config.blocks + 1):
                attends = 2**level in config.attention
                grows = bool(level) and i == config.blocks
                wide = config.base * config.multipliers[level]
                self.up.append(_Stage(channels + kept.pop(), wide, embedded, attends, grows))
                channels = wide
        self.out = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), _zero(nn.Conv1d(channels, 3, 3, padding=1)))

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        embedded = functional.silu(embedded)
        x = self.first(x)
        kept = [x]
        for stage in self.down:
            x = stage(x, embedded)
            kept.append(x)
        for stage in self.middle:
            x = stage(x, embedded)
        for stage in self.up:
            x = stage(torch.cat([x, kept.pop()], 1), embedded)
        result: Tensor = self.out(x)
        return result


class _Stage(nn.Module):
    """A residual block, attention where asked, and twice the rows where it `grows`."""

    def __init__(self, inside: int, out: int, embedded: int, attends: bool, grows: bool = False) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.GroupNorm(32, inside), nn.SiLU(), nn.Conv1d(inside, out, 3, padding=1))
        self.embedded = nn.Linear(embedded, out)
        self.after = nn.Sequential(nn.GroupNorm(32, out), nn.SiLU(), _zero(nn.Conv1d(out, out, 3, padding=1)))
        self.skip = nn.Conv1d(inside, out, 1) if inside != out else nn.Identity()
        self.attention = _Attention(out) if attends else nn.Identity()
        self.grow = nn.Conv1d(out, out, 3, padding=1) if grows else None

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        inside = self.before(x) + self.embedded(embedded)[:, :, None]
        x = self.attention(self.skip(x) + self.after(inside))
        if self.grow is not None:
            x = self.grow(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class _Down(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        result: Tensor = self.conv(x)
        return result


class _Attention(nn.Module):
    """One head over the rows, added to them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm(x)).mT.chunk(3, -1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = x + self.out(mixed.mT)
        return result


def _zero(layer: nn.Conv1d) -> nn.Conv1d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _sinusoidal(t: Tensor, size: int) -> Tensor:
    """(B,) -> (B, size): cosines, then sines, of periods up to 10,000."""
    half = size // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device, dtype=t.dtype) / half)
    angles = t[:, None] * frequency
    return torch.cat([angles.cos(), angles.sin()], 1)
