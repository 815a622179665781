"""Devices that a job can ask for here."""

from __future__ import annotations

import torch


def devices() -> list[str]:
    """Graphics cards first, then the processor."""
    cards = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*cards, "cpu"]
