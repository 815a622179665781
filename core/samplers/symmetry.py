"""Sampling that keeps a space group: velocities averaged over its operations, cells in a chart where that is exact.

A rotation W of fractional coordinates leaves a cell alone where Wᵀ G W = G for its metric G = L Lᵀ. For the state's
S = ½ ln G that is linear only where W is orthogonal, which it is not on hexagonal axes or in a centred primitive cell.
With B Bᵀ the average of Wᵀ W over the group (a metric that the group leaves alone), G = B exp(2T) Bᵀ gives symmetric T
for which it is linear: W acts on T by the orthogonal A = Bᵀ W B⁻ᵀ. States move in T, networks see S.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.data.encoding import SPREAD
from core.models.state import Conditions, Network, State

_LARGEST = 40.0  # of 2 S: what `core.data.encoding` takes


@dataclass(frozen=True)
class Operations:
    """What brings each of B crystals onto itself, x' = W x + t in fractional coordinates.

    rotations: (B, G, 3, 3) W; translations: (B, G, 3) t; sites: (B, G, N) int64, the site that each operation takes
    site i to; present: (B, G) bool: crystals have groups of different order. The first is the identity.
    """

    rotations: Tensor
    translations: Tensor
    sites: Tensor
    present: Tensor

    def __post_init__(self) -> None:
        b, g, n = self.sites.shape
        shapes = [tuple(t.shape) for t in (self.rotations, self.translations, self.present)]
        if shapes != [(b, g, 3, 3), (b, g, 3), (b, g)]:
            raise ValueError(f"shapes {shapes} do not fit {b} crystals of {n} sites with {g} operations")

    def __len__(self) -> int:
        return len(self.present)

    def to(self, device: torch.device | str) -> Operations:
        """The same on another device."""
        return Operations(*(t.to(device) for t in (self.rotations, self.translations, self.sites, self.present)))

    def __getitem__(self, index: slice | Tensor) -> Operations:
        return Operations(self.rotations[index], self.translations[index], self.sites[index], self.present[index])


class Kept:
    """A network whose velocities leave each crystal's operations alone; `kept` makes it.

    States have their cells as T: `enter` makes such a state of one of the usual kind, `leave` brings it back. The
    averages are linear and the same at every step, so each is one matrix per crystal.
    """

    def __init__(self, network: Network, operations: Operations) -> None:
        self._network, self._operations = network, operations
        rotations, share = operations.rotations.double(), _shares(operations.present)
        self._basis = _basis(rotations, share)
        self._inverse = torch.linalg.inv(self._basis)
        turns = self._basis.mT[:, None] @ rotations @ self._inverse.mT[:, None]  # A, orthogonal
        pairs = torch.einsum("bgki,bglj,bg->bijkl", turns, turns, share)  # (Aᵀ T A)_ij averaged
        self._cells = pairs.flatten(3).flatten(1, 2)
        self._sites = _site_average(operations, share)

    def __call__(self, state: State, t: Tensor, conditions: Conditions) -> State:
        """The network's velocities at S, averaged, in the chart T."""
        answer = self._network(replace(state, lattice=self._log_metric(state.lattice)), t, conditions)
        return replace(answer, frac=self._even(answer.frac), lattice=self._pulled(state.lattice, answer.lattice))

    def enter(self, state: State, around: State | None = None) -> State:
        """A state of the usual kind in the chart T, moved onto its operations.

        around: a nearly symmetric state that this one is noise about, however much; without it the state itself has to
        be nearly symmetric
        """
        exponent, whole = _exponent(state.lattice)
        g = torch.linalg.matrix_exp(exponent)
        chart = whole * _log(self._inverse @ g @ self._inverse.mT) / (2 * SPREAD)
        frac = self._placed(state if around is None else around)
        if around is not None:
            delta = state.frac - around.frac
            frac = frac + self._even((delta - delta.round()) * state.mask[:, :, None])
        return replace(state, frac=frac, lattice=self._even_cell(chart).to(state.lattice.dtype))

    def leave(self, state: State) -> State:
        """A state of the chart as it is usually: exactly on its operations again, whatever rounding did."""
        even = replace(state, frac=self._placed(state), lattice=self._even_cell(state.lattice.double()))
        return replace(even, lattice=self._log_metric(even.lattice))

    def _log_metric(self, chart: Tensor) -> Tensor:
        """T -> S, (B, 3, 3) both in units of SPREAD."""
        exponent, whole = _exponent(chart)
        g = self._basis @ torch.linalg.matrix_exp(exponent) @ self._basis.mT
        return (whole * _log(g) / (2 * SPREAD)).to(chart.dtype)

    def _pulled(self, chart: Tensor, velocity: Tensor) -> Tensor:
        """dS -> dT at T (Daleckii and Krein's formula for the differentials of exp and ln), averaged."""
        values, vectors = torch.linalg.eigh(_exponent(chart)[0])
        h = vectors @ torch.diag_embed(values.exp()) @ vectors.mT
        logs, axes = _eigen_log(self._basis @ h @ self._basis.mT)
        change = _between(axes, _symmetric(velocity.double()), _divided(logs))  # of the metric, over 2 SPREAD
        change = self._inverse @ change @ self._inverse.mT
        return self._even_cell(_between(vectors, change, 1 / _divided(values))).to(velocity.dtype)

    def _even_cell(self, chart: Tensor) -> Tensor:
        return (self._cells @ chart.flatten(1)[:, :, None]).view(-1, 3, 3)

    def _even(self, frac: Tensor) -> Tensor:
        """v_i = mean of W⁻¹ v_g(i): (B, N, 3)."""
        return (self._sites @ frac.double().flatten(1)[:, :, None]).view(frac.shape).to(frac.dtype)

    def _placed(self, state: State) -> Tensor:
        """Coordinates moved to where the operations hold: by the mean of what W⁻¹ (x_g(i) − t) lacks to x_i."""
        found, frac = self._operations, state.frac.double()
        total = torch.zeros_like(frac)
        for k, share in enumerate(_shares(found.present).unbind(1)):
            there = frac.gather(1, found.sites[:, k, :, None].expand(-1, -1, 3)) - found.translations[:, k, None]
            back = there.double() @ torch.linalg.inv(found.rotations[:, k].double()).mT
            delta = back - frac
            total += (delta - delta.round()) * share[:, None, None]
        return (frac + total * state.mask[:, :, None]).to(state.frac.dtype)


def kept(network: Network, operations: Operations) -> Kept:
    """The network with velocities of cell and coordinates averaged over the operations of each crystal.

    A sampler whose steps are sums of velocities (`core.samplers.flow`, `core.samplers.regression` on the torus) then
    keeps the operations of a symmetric state to rounding, if it moves `enter(start)` and its result goes through
    `leave`. Operations have to lie on the network's device.
    """
    return Kept(network, operations)


def _shares(present: Tensor) -> Tensor:
    """(B, G) 1 / order of the group, 0 at padding."""
    return present.double() / present.sum(1, keepdim=True)


def _basis(rotations: Tensor, share: Tensor) -> Tensor:
    """(B, 3, 3) the root B of the mean of Wᵀ W, of determinant one; the identity where all W are orthogonal."""
    mean = torch.einsum("bgji,bgjk,bg->bik", rotations, rotations, share)
    logs, axes = _eigen_log(mean)
    logs = logs - logs.mean(1, keepdim=True)
    return axes @ torch.diag_embed((logs / 2).exp()) @ axes.mT


def _site_average(operations: Operations, share: Tensor) -> Tensor:
    """(B, 3N, 3N) of velocities v: block (i, g(i)) is the sum of W⁻¹ / order over the operations with that g(i)."""
    b, g, n = operations.sites.shape
    inverse = torch.linalg.inv(operations.rotations.double()) * share[:, :, None, None]
    result = inverse.new_zeros(b, n * n, 9)
    at = torch.arange(n, device=share.device) * n + operations.sites  # (B, G, N)
    for k in range(g):
        block = inverse[:, k].flatten(1)[:, None].expand(b, n, 9)
        result.scatter_add_(1, at[:, k, :, None].expand(b, n, 9), block)
    return result.view(b, n, n, 3, 3).transpose(2, 3).reshape(b, 3 * n, 3 * n)


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def _exponent(lattice: Tensor) -> tuple[Tensor, Tensor]:
    """((B, 3, 3) float64 of 2 S or 2 T that exp can take, (B, 1, 1) 1, or NaN where it was not finite)."""
    finite = torch.isfinite(lattice).flatten(1).all(1)[:, None, None]
    exponent = torch.where(finite, 2 * SPREAD * _symmetric(lattice.double()), 0.0).clamp(-_LARGEST, _LARGEST)
    return exponent, torch.where(finite, 1.0, torch.nan)


def _eigen_log(metric: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3) logarithms of the eigenvalues and (B, 3, 3) the eigenvectors of a positive metric."""
    values, vectors = torch.linalg.eigh(_symmetric(metric))
    return values.clamp_min(1e-300).log(), vectors


def _log(metric: Tensor) -> Tensor:
    logs, axes = _eigen_log(metric)
    return axes @ torch.diag_embed(logs) @ axes.mT


def _divided(logs: Tensor) -> Tensor:
    """(B, 3, 3) (e^a − e^b) / (a − b) of all pairs, e^a where they are the same."""
    mean, half = (logs[:, :, None] + logs[:, None]) / 2, (logs[:, :, None] - logs[:, None]) / 2
    small = half.abs() < 1e-4
    safe = torch.where(small, torch.ones_like(half), half)
    return mean.exp() * torch.where(small, 1 + half**2 / 6, torch.sinh(safe) / safe)


def _between(axes: Tensor, change: Tensor, weights: Tensor) -> Tensor:
    return axes @ (weights * (axes.mT @ change @ axes)) @ axes.mT
