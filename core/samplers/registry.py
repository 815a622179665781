"""Methods by the names of the command line."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

from core.checked import check_fields
from core.samplers.diffusion import SCHEDULES, Diffusion
from core.samplers.flow import PATHS, FlowMatching
from core.samplers.geometry import GEOMETRIES, PAPER
from core.samplers.protocol import Sampler
from core.samplers.regression import Regression

METHODS: dict[str, dict[str, FlowMatching | Diffusion | Regression]] = {
    "generation": {
        "cfm-uniform": FlowMatching("uniform"),
        "cfm-normal": FlowMatching("normal"),
        "ddpm": Diffusion("ddpm"),
        "ddim": Diffusion("ddim"),
    },
    "modification": {
        "cfm": FlowMatching("start"),
        "regression": Regression(),
        "palette": Diffusion("ddpm", sees_start=True),
    },
}
ABOUT = {
    "cfm-uniform": "flow matching from uniform noise",
    "cfm-normal": "flow matching from normal noise",
    "ddpm": "diffusion, drawn step by step with fresh noise",
    "ddim": "diffusion, drawn without fresh noise",
    "cfm": "flow matching from the given structure",
    "regression": "the target in one step",
    "palette": "diffusion that is shown the given structure",
}
STEPS = {"cfm-uniform": 50, "cfm-normal": 50, "cfm": 50, "ddpm": 100, "ddim": 100, "palette": 100, "regression": 1}


def sampler_for(task: str, method: str, **changes: Any) -> Sampler:
    """The sampler of a task's method, `changes` to its fields. Raises ValueError for names and values unknown.

    In the paper's geometry a structure to modify is the start as it is, without blur.
    """
    if not isinstance(task, str) or task not in METHODS:
        raise ValueError(f"There is no task {str(task)[:80]!r}: choose {' or '.join(METHODS)}.")
    if not isinstance(method, str) or method not in METHODS[task]:
        raise ValueError(f"{task} has no method {str(method)[:80]!r}: choose {', '.join(METHODS[task])}.")
    sampler = METHODS[task][method]
    known = {f.name for f in fields(sampler)}
    if changes.get("geometry") == PAPER and "noise" not in changes:
        changes["noise"] = 0.0
    sampler = replace(sampler, **{k: v for k, v in changes.items() if k in known})
    check_fields(sampler)
    if sampler.geometry not in GEOMETRIES:
        raise ValueError(f"There is no geometry {sampler.geometry!r}: choose {' or '.join(GEOMETRIES)}.")
    if isinstance(sampler, FlowMatching) and sampler.solver not in ("euler", "heun"):
        raise ValueError(f"There is no solver {sampler.solver!r}: choose euler or heun.")
    if isinstance(sampler, FlowMatching) and sampler.path not in PATHS:
        raise ValueError(f"There is no path {sampler.path!r}: choose {', '.join(PATHS)}.")
    if isinstance(sampler, Diffusion) and (sampler.schedule not in SCHEDULES or sampler.draws not in ("ddpm", "ddim")):
        raise ValueError("Diffusion has the schedules cosine and linear and draws by ddpm or ddim.")
    return sampler


def draws_of(sampler: Sampler) -> tuple[str, ...]:
    """The ways in which what this sampler learned can be drawn, its own first; none where there is no choice."""
    if isinstance(sampler, FlowMatching):
        return (sampler.solver, *(name for name in ("euler", "heun") if name != sampler.solver))
    if isinstance(sampler, Diffusion):
        return (sampler.draws, *(name for name in ("ddpm", "ddim") if name != sampler.draws))
    return ()


def drawn_by(sampler: Sampler, name: str) -> Sampler:
    """The same method with another way of drawing. Raises ValueError where it has none of that name."""
    choices = draws_of(sampler)
    if name not in choices:
        raise ValueError(f"This model is not drawn by {name!r}: choose {' or '.join(choices) or 'none'}.")
    changed: Sampler = replace(sampler, **{"solver" if isinstance(sampler, FlowMatching) else "draws": name})  # type: ignore[type-var]
    return changed


def sampler_values(sampler: Sampler) -> dict[str, Any]:
    """The sampler's fields as JSON, for the model's configuration; `sampler_for` takes them back."""
    values: dict[str, Any] = asdict(sampler)  # type: ignore[call-overload]
    return values
