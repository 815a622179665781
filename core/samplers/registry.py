"""Methods by the names of the command line."""

from __future__ import annotations

from core.samplers.flow import FlowMatching

METHODS: dict[str, dict[str, FlowMatching]] = {
    "generation": {"cfm-uniform": FlowMatching("uniform")},
    "modification": {"cfm": FlowMatching("start")},
}
ABOUT = {
    "cfm-uniform": "flow matching from uniform noise",
    "cfm": "flow matching from the given structure",
}


def sampler_for(task: str, method: str) -> FlowMatching:
    """The sampler of a task's method. Raises ValueError for names that are unknown."""
    if task not in METHODS:
        raise ValueError(f"There is no task {task!r}: choose {' or '.join(METHODS)}.")
    if method not in METHODS[task]:
        raise ValueError(f"{task} has no method {method!r}: choose {' or '.join(METHODS[task])}.")
    return METHODS[task][method]
