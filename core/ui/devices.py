"""Devices that a job can ask for here."""

from __future__ import annotations

import psutil
import torch


def devices() -> list[str]:
    """Graphics cards first, then the processor."""
    cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*cards, "cpu"]


def memory_of(device: str) -> float | None:
    """What a device has (MB), None where that is not known."""
    if device == "cpu":
        return psutil.virtual_memory().total / 1e6
    kind, _, index = device.partition(":")
    if kind != "cuda" or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(int(index or 0)).total_memory / 1e6
