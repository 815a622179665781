"""Devices that a job can ask for here."""

from __future__ import annotations

import psutil
import torch

from core.jobs.runners import CLUSTERS, cluster_devices


def devices() -> list[str]:
    """Graphics cards first, then the processor, then the clusters that are configured."""
    cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*cards, "cpu", *cluster_devices()]


def cost_device(device: str) -> str:
    """The device here that a cost is estimated for: of a cluster's machine nothing is known but its kind."""
    if device not in CLUSTERS:
        return device
    first = devices()[0]
    return first if device.endswith("-gpu") else "cpu"


def memory_of(device: str) -> float | None:
    """What a device has (MB), None where that is not known."""
    if device == "cpu":
        return psutil.virtual_memory().total / 1e6
    kind, _, index = device.partition(":")
    if kind != "cuda" or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(int(index or 0)).total_memory / 1e6
