"""Models from outside: safetensors, configurations, cards, alone and in zips."""

from __future__ import annotations

import io
import json
import shutil
import struct
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from safetensors.torch import save

from core.models.registry import build_network
from core.settings import ASSETS
from core.workflows import models
from core.workflows.context import UserError
from core.workflows.model_files import add_upload
from core.workflows.store import folder
from tests.faults.strategies import damaged, odd_json

Files = list[tuple[str, bytes]]


@cache
def small_model() -> dict[str, bytes]:
    """A model of a few kilobytes, as its three files."""
    config: dict[str, Any] = json.loads((ASSETS / "models" / "starter-generator" / "config.json").read_text())
    config["network_config"] = {"width": 4, "depth": 1, "heads": 1, "frequencies": 1}
    config["seen"]["space_groups"] = [191]
    weights = save(build_network("transformer", config["network_config"]).state_dict())
    return {
        "model.safetensors": weights,
        "config.json": json.dumps(config).encode(),
        "card.json": b'{"name": "small", "licence": "MIT"}',
    }


@st.composite
def model_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """("x.zip" or "files", the files packed): one of the three was damaged, or two."""
    from tests.faults.parsers import zipped

    files = dict(small_model())
    for name in draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2, unique=True)):
        if name == "model.safetensors":
            files[name] = draw(st.one_of(damaged([files[name]]), headers(files[name])))
        else:
            files[name] = draw(st.one_of(odd_json([json.loads(small_model()[name])]), damaged([files[name]])))
    packed = zipped(files)
    if draw(st.integers(0, 4)) == 0:
        return "x.zip", draw(damaged([packed]))
    return draw(st.sampled_from(["x.zip", "files"])), packed


@st.composite
def headers(draw: st.DrawFn, weights: bytes) -> bytes:
    """A safetensors file whose header says something else than its data."""
    (size,) = struct.unpack("<Q", weights[:8])
    header = draw(odd_json([json.loads(weights[8 : 8 + size])]))
    said = draw(st.sampled_from([len(header), 0, 2**40, 2**63, len(header) + 7]))
    return struct.pack("<Q", said) + header + weights[8 + size :]


def read_model(_: Path, case: tuple[str, bytes]) -> bool:
    """As the page Models takes it in; nothing of a refused one stays."""
    import zipfile

    from tests.faults.parsers import sentence

    name, data = case
    files = [("x.zip", io.BytesIO(data))]
    if name == "files":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [(n, io.BytesIO(archive.read(n))) for n in archive.namelist()]
    try:
        model = add_upload(files, "fuzzed")
    except UserError as error:
        assert not list(folder("models").iterdir()), "files of a refused model were left"
        return sentence(error)
    models.load_model("fuzzed")
    models.delete_model(model.name)
    shutil.rmtree(folder("models"))
    return True


def _parser() -> Any:
    from tests.faults.parsers import Parser

    return Parser(model_files(), read_model, 0.6, True)


MODELS = _parser()
