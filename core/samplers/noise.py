"""Random numbers for a batch of crystals, the same for a crystal in whatever batch it is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Noise:
    """Draws for the sites and the cells of B crystals.

    With one generator the batch is drawn as a whole (training). With one per crystal, each crystal's numbers come from
    its own generator and depend neither on its neighbours nor on the padding (sampling).
    """

    def __init__(self, mask: Tensor, generators: torch.Generator | Sequence[torch.Generator]) -> None:
        """mask: (B, N) bool. Raises ValueError where the number of generators is neither one nor B."""
        self.mask = mask
        self.generators = [generators] if isinstance(generators, torch.Generator) else list(generators)
        self.shared = isinstance(generators, torch.Generator)
        if not self.shared and len(self.generators) != len(mask):
            raise ValueError(f"{len(self.generators)} generators do not fit {len(mask)} crystals")
        self._sizes = [] if self.shared else mask.sum(1).tolist()

    @classmethod
    def seeded(cls, mask: Tensor, seeds: Sequence[int]) -> Noise:
        """One generator per crystal, each from its seed."""
        return cls(mask, [torch.Generator().manual_seed(seed) for seed in seeds])

    def to(self, device: torch.device | str) -> Noise:
        """The same generators, with what they draw from now on brought to a device."""
        return Noise(self.mask.to(device), self.generators[0] if self.shared else self.generators)

    def sites(self, kind: str) -> Tensor:
        """(B, N, 3) "normal" or "uniform" numbers, 0 at padding."""
        draw = _DRAWS[kind]
        if self.shared:
            generator = self.generators[0]
            drawn = draw(*self.mask.shape, 3, generator=generator, device=generator.device).to(self.mask.device)
            return drawn * self.mask[:, :, None]
        result = torch.zeros(*self.mask.shape, 3)
        for i, (generator, n) in enumerate(zip(self.generators, self._sizes, strict=True)):
            result[i, :n] = draw(n, 3, generator=generator)
        return result.to(self.mask.device)

    def cells(self, kind: str) -> Tensor:
        """(B, 3, 3) "normal", "uniform" or "symmetric" numbers; the last are normal, and of unit variance each."""
        draw = _DRAWS["normal" if kind == "symmetric" else kind]
        if self.shared:
            generator = self.generators[0]
            drawn = draw(len(self.mask), 3, 3, generator=generator, device=generator.device)
        else:
            drawn = torch.stack([draw(3, 3, generator=g) for g in self.generators])
        if kind == "symmetric":
            drawn = drawn.triu() + drawn.triu(1).mT
        return drawn.to(self.mask.device)


_DRAWS = {"normal": torch.randn, "uniform": torch.rand}
