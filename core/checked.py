"""Values from outside in a dataclass of ours."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any


def check_fields(made: Any) -> None:
    """Has every field of a dataclass the type of its default, and is every number finite? Raises ValueError."""
    for field in fields(made):
        value, usual = getattr(made, field.name), type(field.default)
        fits = isinstance(value, (int, float) if usual is float else usual)
        if not fits or (isinstance(value, bool) and usual is not bool):
            raise ValueError(f"{field.name} cannot be {str(value)[:40]!r}")
        if usual is float and not math.isfinite(value):
            raise ValueError(f"{field.name} has to be finite")
