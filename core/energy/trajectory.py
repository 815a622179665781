"""The way of one relaxation, thinned: what a player shows, kept as one safetensors file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.crystals import Crystals, wrap

MAX_FRAMES = 60
_MAX_FILE = 50_000_000  # bytes
_KEYS = {"step", "energy", "max_force", "frac", "lattice", "numbers"}


class TrajectoryError(ValueError):
    """A file that is no trajectory; the message says why."""


@dataclass(frozen=True)
class Trajectory:
    """T frames of one relaxation, the first and the last always among them.

    step: (T,) int64; energy: (T,) eV/atom; max_force: (T,) eV/Å; crystals: T frames of the same sites
    about: method, status, label, space groups, as text
    """

    step: Tensor
    energy: Tensor
    max_force: Tensor
    crystals: Crystals
    about: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.step)


class Recorder:
    """Collects the frames of one relaxation: every step, and every second one each time they get too many."""

    def __init__(self, numbers: Tensor, frames: int = MAX_FRAMES) -> None:
        """numbers: (n,) atomic numbers; frames: at most so many, and the last."""
        self._numbers, self._most = numbers, max(2, frames)
        self._stride = 1
        self._frames: list[tuple[int, float, float, Tensor, Tensor]] = []

    def wants(self, step: int) -> bool:
        """True where this step would be kept."""
        return step % self._stride == 0

    def add(self, step: int, energy: float, max_force: float, frac: Tensor, lattice: Tensor) -> None:
        """One frame: eV/atom, eV/Å, (n, 3) and (3, 3) Å. A step that is there already is replaced."""
        if self._frames and self._frames[-1][0] == step:
            self._frames.pop()
        self._frames.append((step, energy, max_force, frac.float().clone(), lattice.float().clone()))
        if len(self._frames) > self._most:
            self._stride *= 2
            last = self._frames[-1]
            self._frames = [f for f in self._frames[:-1] if f[0] % self._stride == 0] + [last]

    def trajectory(self) -> Trajectory | None:
        """What was recorded; None where nothing was."""
        if not self._frames:
            return None
        steps, energies, forces, fracs, lattices = zip(*self._frames, strict=True)
        count = len(steps)
        crystals = Crystals(
            wrap(torch.stack(fracs)),
            torch.stack(lattices),
            self._numbers.expand(count, -1).clone(),
            torch.zeros(count, dtype=torch.int64),
            torch.full((count,), torch.nan),
        )
        return Trajectory(torch.tensor(steps), torch.tensor(energies), torch.tensor(forces), crystals)


def save_trajectory(trajectory: Trajectory, path: Path) -> None:
    """Write it whole or not at all; a trajectory that lies there is replaced. Some 50 kB for 60 frames of 60 atoms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "step": trajectory.step,
        "energy": trajectory.energy,
        "max_force": trajectory.max_force,
        "frac": trajectory.crystals.frac,
        "lattice": trajectory.crystals.lattice,
        "numbers": trajectory.crystals.numbers[0].to(torch.uint8),
    }
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({k: t.contiguous() for k, t in tensors.items()}, unfinished, metadata=trajectory.about)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_trajectory(path: Path) -> Trajectory:
    """Read what `save_trajectory` wrote. Raises TrajectoryError for anything else."""
    try:
        if path.stat().st_size > _MAX_FILE:
            raise TrajectoryError(f"{path.name} is larger than {_MAX_FILE // 10**6} MB")
        with safe_open(path, "pt") as file:
            if set(file.keys()) != _KEYS:
                raise TrajectoryError(f"{path.name} holds no trajectory")
            found = {key: file.get_tensor(key) for key in _KEYS}
            about = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise TrajectoryError(f"{path.name} cannot be read: {error}") from error
    frames, numbers = len(found["step"]), found["numbers"].long()
    shapes = [tuple(found[k].shape) for k in ("energy", "max_force", "frac", "lattice")]
    if shapes != [(frames,), (frames,), (frames, len(numbers), 3), (frames, 3, 3)] or not frames:
        raise TrajectoryError(f"{path.name} holds frames that do not fit each other")
    crystals = Crystals(
        wrap(found["frac"]),
        found["lattice"],
        numbers.expand(frames, -1).clone(),
        torch.zeros(frames, dtype=torch.int64),
        torch.full((frames,), torch.nan),
    )
    return Trajectory(found["step"], found["energy"], found["max_force"], crystals, about)
