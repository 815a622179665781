"""Networks by name and preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Any

from torch import nn

from core.checked import check_fields
from core.data.matrix import element_table
from core.models import transformer, unet
from core.models.transformer import Transformer, TransformerConfig
from core.models.unet import Tables, UNet, UNetConfig

Config = TransformerConfig | UNetConfig


@dataclass(frozen=True)
class NetworkChoice:
    """preset names of a network, and one line on what they are; `about` is the network's own line.

    max_sites: atoms that a cell may hold, None for any number
    """

    name: str
    about: str
    presets: dict[str, str]
    configs: dict[str, Any]
    config: type[Any]
    max_sites: int | None


NETWORKS = {
    "transformer": NetworkChoice(
        "transformer",
        "attention between atoms: periodic, blind to their order",
        {
            "quick": "0.2 M parameters: to see that everything works",
            "small": "2 M parameters: minutes to hours on a laptop",
            "medium": "11 M parameters: hours on a GPU",
        },
        transformer.PRESETS,
        TransformerConfig,
        Transformer.max_sites,
    ),
    "unet": NetworkChoice(
        "unet",
        "the paper's network: convolutions over a column of at most 60 atoms",
        {
            "quick": "0.6 M parameters: to see that everything works",
            "small": "6 M parameters: hours on a laptop",
            "paper": "305 M parameters, every setting as in the paper: days on a data-centre GPU",
        },
        unet.PRESETS,
        UNetConfig,
        UNet.max_sites,
    ),
}


def configure(network: str, preset: str, **changes: Any) -> Config:
    """The configuration of a preset; changes that this network does not have are left out.

    Raises ValueError for a name that is unknown.
    """
    if network not in NETWORKS:
        raise ValueError(f"There is no network {network!r}: choose {' or '.join(NETWORKS)}.")
    choice = NETWORKS[network]
    if preset not in choice.presets:
        raise ValueError(f"{network} has no preset {preset!r}: choose {' or '.join(choice.presets)}.")
    known = {f.name for f in fields(choice.config)}
    config: Config = replace(choice.configs[preset], **{k: v for k, v in changes.items() if k in known})
    return config


def build_network(network: str, values: dict[str, Any], tables: Callable[[], Tables] | None = None) -> nn.Module:
    """A network from the configuration that its checkpoint holds. Raises ValueError.

    tables: what the U-Net knows of elements and groups, `known_tables` by default
    """
    config = read_config(network, values)
    if isinstance(config, TransformerConfig):
        return Transformer(config)
    return UNet(config, (tables or known_tables)())


def read_config(network: str, values: dict[str, Any]) -> Config:
    """A checkpoint's configuration, its types and sizes checked. Raises ValueError."""
    if not isinstance(network, str) or network not in NETWORKS:
        raise ValueError(f"There is no network {str(network)[:80]!r} in this version.")
    try:
        made: Config = NETWORKS[network].config(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        )
        check_fields(made)
        made.check()
    except (TypeError, ValueError) as error:
        raise ValueError(f"The configuration of this {network} cannot be read: {str(error)[:300]}.") from error
    return made


@cache
def known_tables() -> Tables:
    """The tables made here, from mendeleev and pymatgen; the first call takes seconds, later ones a file."""
    from core.data.features import element_features, space_group_operations
    from core.settings import settings

    return Tables(element_table(element_features()), space_group_operations(settings().var / "cache"))


def as_values(config: Config) -> dict[str, Any]:
    """The configuration as JSON."""
    return asdict(config)
