"""What a job can do: the workflow behind each kind, found when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any

from core.workflows.context import UserError


@dataclass(frozen=True)
class Kind:
    """workflow and params: "module:name" of `function(params, context) -> dict` and of its dataclass.

    resumable: an interrupted run goes on from what it kept, so it is started again by itself
    before: what settings meant that were stored before they had such a key, where that is not today's default
    """

    workflow: str
    params: str
    resumable: bool
    before: Mapping[str, Any] = field(default_factory=dict)

    def function(self) -> Callable[[Any, Any], dict[str, Any]]:
        function: Callable[[Any, Any], dict[str, Any]] = _load(self.workflow)
        return function

    def parse(self, values: dict[str, Any]) -> Any:
        """The params dataclass from its JSON form; keys that it no longer has are left out.

        Raises UserError where one that it needs is missing.
        """
        cls = _load(self.params)
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{k: _tuples(v) for k, v in {**self.before, **values}.items() if k in known})
        except TypeError as error:
            raise UserError("The settings of this job are not whole: start a new one.") from error


KINDS = {
    "import": Kind("core.workflows.imports:import_files", "core.workflows.imports:ImportParams", True),
    "build": Kind("core.workflows.datasets:build_dataset", "core.workflows.datasets:BuildParams", True),
    "aflow": Kind("core.workflows.aflow:import_aflow", "core.workflows.aflow:AflowParams", True),
    "prototypes": Kind("core.workflows.prototypes:build", "core.workflows.prototypes:PrototypeParams", True),
    "train": Kind("core.workflows.train:train", "core.workflows.train:TrainParams", True),
    "generate": Kind(
        "core.workflows.generate:generate", "core.workflows.generate:GenerateParams", True, {"hold_group": False}
    ),
    "modify": Kind("core.workflows.modify:modify", "core.workflows.modify:ModifyParams", True),
    "evaluate": Kind("core.workflows.evaluate:evaluate", "core.workflows.evaluate:EvaluateParams", True),
    "hull-build": Kind("core.workflows.hulls_build:build_hull", "core.workflows.hulls_build:BuildHullParams", True),
    "hull-aflow": Kind(
        "core.workflows.hulls_aflow:hull_from_aflow", "core.workflows.hulls_aflow:AflowHullParams", True
    ),
    "hull-evaluate": Kind(
        "core.workflows.hulls_evaluate:evaluate_hull", "core.workflows.hulls_evaluate:EvaluateHullParams", True
    ),
    "relax": Kind("core.workflows.relax:relax_candidates", "core.workflows.relax:RelaxParams", True),
    "vasp": Kind("core.workflows.vasp_results:read_vasp", "core.workflows.vasp_results:ReadParams", True),
}


def _load(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(module), name)


def _tuples(value: Any) -> Any:
    """JSON knows no tuples; frozen params have nothing else."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
