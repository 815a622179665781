"""The arrows of the architecture: pages → core.ui → core.jobs → core.workflows → (science, db)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCIENCE = ["data", "models", "samplers", "training", "evaluation", "energy", "export", "templates"]
LEAN = ["models", "samplers", "training"]


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def reaches(path: Path, *forbidden: str) -> set[str]:
    return {name for name in imports_of(path) if any(name == f or name.startswith(f + ".") for f in forbidden)}


@pytest.mark.parametrize("part", SCIENCE)
def test_science_knows_no_store_and_no_screen(part: str) -> None:
    above = ("db", "sqlalchemy", "streamlit", "core.workflows", "core.jobs", "core.ui", "core.cli")
    assert {p.name: reaches(p, *above) for p in files(f"core/{part}") if reaches(p, *above)} == {}


@pytest.mark.parametrize(
    ("folder", "above"),
    [
        ("db", ("core", "streamlit", "pages", "torch", "pymatgen")),
        ("core/workflows", ("core.jobs", "core.ui", "core.cli", "streamlit", "pages")),
        ("core/jobs", ("core.ui", "core.cli", "streamlit", "pages")),
        ("pages", ("sqlalchemy", "torch", "matgl", "pymatgen")),
    ],
)
def test_arrows_point_one_way(folder: str, above: tuple[str, ...]) -> None:
    assert {p.name: reaches(p, *above) for p in files(folder) if reaches(p, *above)} == {}


def test_training_runs_with_torch_and_numpy_alone() -> None:
    """The networks, samplers and the loop import on a machine without pymatgen, matgl, ase, pandas or a database."""
    code = """
import sys
for name in ("pymatgen", "matgl", "ase", "pandas", "mendeleev", "sqlalchemy", "streamlit", "spglib", "scipy"):
    sys.modules[name] = None
import core.training.data, core.data.fitted_pairs
del sys.modules["scipy"]  # an optional package of Lightning asks for it
import core.training.loop, core.samplers.registry, core.models.registry, core.models.checkpoint, core.data.tensors
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True, timeout=120)


def test_files_and_functions_stay_short() -> None:
    long: list[str] = []
    for folder in ("core", "db", "pages", "benchmarks"):
        for path in files(folder):
            text = path.read_text()
            if text.count("\n") > 420:
                long.append(f"{path.name}: {text.count(chr(10))} lines")
            for node in ast.walk(ast.parse(text)):
                if "migrations" in path.parts:
                    continue  # written by Alembic
                if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno > 60:
                    long.append(f"{path.name}: {node.name}")
    assert long == []
