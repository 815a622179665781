"""Where a training runs: one processor or GPU, or several under the usual launcher (torchrun)."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from typing import Any

import torch

_FABRIC = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


class DeviceError(ValueError):
    """A device that is not here; the message is a sentence."""


@dataclass(frozen=True)
class Fleet:
    """The processes of one training. rank 0 comes first: it decides, validates, reports and writes."""

    fabric: Any
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def agree(self, decision: bool) -> bool:
        """What the first process says."""
        return decision if self.size == 1 else bool(self.fabric.broadcast(decision))

    def share(self, order: list[torch.Tensor]) -> list[torch.Tensor]:
        """This process's batches: every size-th; those that are left over are dropped (none with one process)."""
        whole = len(order) // self.size * self.size
        return order[self.rank : whole : self.size] if whole else order


def launch(device: str, precision: str = "auto") -> Fleet:
    """ "cpu", "cuda" or "cuda:1"; under torchrun one process of those it started.

    Raises ValueError for a precision that is unknown, DeviceError for a device that is not here.
    """
    from lightning.fabric import Fabric  # seconds, of which what only asks for a device needs none

    check_device(device)
    kind, _, index = device.partition(":")
    fabric_precision: Any = _FABRIC[resolve(precision, kind)]
    size = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if size == 1:
        chosen: Any = [int(index or 0)] if kind == "cuda" else 1
        return Fleet(Fabric(accelerator=kind, devices=chosen, precision=fabric_precision))
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    fabric = Fabric(
        accelerator=kind, devices=local, num_nodes=size // local, strategy="ddp", precision=fabric_precision
    )
    fabric.launch()
    return Fleet(fabric, fabric.global_rank, fabric.world_size)


def check_device(device: str) -> None:
    """Raises DeviceError where this machine has no such device."""
    kind, _, index = device.partition(":")
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (kind == "cuda" and here and (not index or (index.isdecimal() and int(index) < here))):
        return
    cards = ", ".join(f"cuda:{i}" for i in range(here))
    raise DeviceError(f"There is no device {device!r} here: choose {f'cpu, {cards}' if here else 'cpu'}.")


def resolve(precision: str, kind: str) -> str:
    """ "32", "bf16" or "16" for what was asked on a kind of device. Raises ValueError for a name that is unknown."""
    if precision == "auto":
        fast = kind == "cuda" and torch.cuda.is_bf16_supported()
        return "bf16" if fast else "32"
    if precision not in _FABRIC:
        raise ValueError(f"There is no precision {precision!r}: choose auto, {', '.join(_FABRIC)}.")
    return "32" if precision == "16" and kind == "cpu" else precision


def memory_mb(device: torch.device) -> float:
    """The most memory used so far: of the GPU, or of this process (MB)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def out_of_memory(error: BaseException) -> bool:
    """Was it the memory, of whatever device?"""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(w in str(error) for w in words)
