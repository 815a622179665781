"""Networks by name and preset."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from core.models.transformer import PRESETS, Transformer, TransformerConfig


@dataclass(frozen=True)
class NetworkChoice:
    """preset names of a network, and one line on what they are."""

    name: str
    presets: dict[str, str]


NETWORKS = {
    "transformer": NetworkChoice(
        "transformer",
        {
            "quick": "0.2 M parameters: to see that everything works",
            "small": "2 M parameters: minutes to hours on a laptop",
        },
    )
}


def configure(network: str, preset: str, **changes: Any) -> TransformerConfig:
    """The configuration of a preset. Raises ValueError for a name that is unknown."""
    if network not in NETWORKS:
        raise ValueError(f"There is no network {network!r}: choose {' or '.join(NETWORKS)}.")
    if preset not in NETWORKS[network].presets:
        raise ValueError(f"{network} has no preset {preset!r}: choose {' or '.join(NETWORKS[network].presets)}.")
    return replace(PRESETS[preset], **changes)


def build_network(network: str, values: dict[str, Any]) -> nn.Module:
    """A network from the configuration that its checkpoint holds. Raises ValueError."""
    if network not in NETWORKS:
        raise ValueError(f"There is no network {network!r} in this version.")
    try:
        config = TransformerConfig(**values)
        if not (0 < config.width <= 4096 and 0 < config.depth <= 100 and config.width % config.heads == 0):
            raise ValueError("width, depth or heads are out of bounds")
    except (TypeError, ValueError) as error:
        raise ValueError(f"The configuration of this {network} cannot be read: {error}.") from error
    return Transformer(config)


def as_values(config: TransformerConfig) -> dict[str, Any]:
    """The configuration as JSON."""
    return asdict(config)
