"""Model files that lie: shapes, sizes, pickles by another name. Refused in words before anything is built or run."""

from __future__ import annotations

import io
import json
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load, save

from core.models.checkpoint import CONFIG, WEIGHTS, CheckpointError, begin_with, load_weights, read_tensor_file
from core.models.registry import build_network
from core.workflows import models
from core.workflows.context import UserError
from core.workflows.model_files import add_upload
from core.workflows.store import folder
from tests.faults.model_parser import small_model
from tests.faults.strategies import CANARY


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(CANARY),)


def weights_with(**changes: torch.Tensor | None) -> bytes:
    """The small model's weights with tensors replaced, added or (None) taken away."""
    tensors: dict[str, Any] = {**load(small_model()[WEIGHTS]), **changes}
    return save({k: t for k, t in tensors.items() if t is not None})


def first_name() -> str:
    return sorted(load(small_model()[WEIGHTS]))[0]


def header_says(changes: dict[str, Any], size: int | None = None) -> bytes:
    data = small_model()[WEIGHTS]
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header[first_name()] |= changes
    packed = json.dumps(header).encode()
    return struct.pack("<Q", size if size is not None else len(packed)) + packed + data[8 + length :]


def torch_pickle() -> bytes:
    packed = io.BytesIO()
    torch.save({"a": Evil()}, packed)
    return packed.getvalue()


WRONG = {
    "wrong shape": lambda: weights_with(**{first_name(): torch.zeros(3, 3)}),
    "a tensor more": lambda: weights_with(more=torch.zeros(2)),
    "a tensor less": lambda: weights_with(**{first_name(): None}),
    "cut in the data": lambda: small_model()[WEIGHTS][:-20],
    "cut in the header": lambda: small_model()[WEIGHTS][:40],
    "cut in the length": lambda: small_model()[WEIGHTS][:5],
    "pickle": lambda: pickle.dumps(Evil()),
    "torch's pickle": torch_pickle,
    "a header of exabytes": lambda: header_says({}, 2**62),
    "a shape of exabytes": lambda: header_says({"shape": [2**31, 2**31]}),
    "a negative shape": lambda: header_says({"shape": [-1]}),
    "offsets beyond the file": lambda: header_says({"data_offsets": [0, 2**50]}),
    "an unknown type": lambda: header_says({"dtype": "PICKLE"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_weights_that_lie_are_refused(var: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"do not fit its configuration|no safetensors file, or it is damaged"):
        upload({WEIGHTS: WRONG[case]()})
    assert not (tmp_path / CANARY).exists(), "the pickle was opened"
    assert list(folder("models").iterdir()) == []
    assert models.list_models() == []


@pytest.mark.parametrize("case", WRONG)
def test_weights_that_lie_are_refused_below_too(tmp_path: Path, case: str) -> None:
    """Where a checkpoint is read without the page: to go on, to begin with, on a bare machine."""
    (tmp_path / WEIGHTS).write_bytes(WRONG[case]())
    network = build_network("transformer", json.loads(small_model()[CONFIG])["network_config"])
    with pytest.raises(CheckpointError):
        load_weights(network, tmp_path)
    if case not in ("a tensor more", "wrong shape", "a tensor less"):
        with pytest.raises(CheckpointError):
            read_tensor_file(tmp_path / WEIGHTS)
    if case != "a tensor more":  # of which only what is needed is taken
        with pytest.raises(CheckpointError):
            begin_with(network, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "os.system"},
        {"network": {"@module": "os", "@class": "system"}},
        {"network": ["transformer"]},
        {"method": "__import__('os').system('x')"},
        {"method": ["cfm-uniform"]},
        {"task": {"a": 1}},
        {"network_config": {"width": 10**12}},
        {"network_config": {"width": 4096, "depth": 10**9}},
        {"network_config": {"depth": 1e308}},
        {"network_config": {"width": 4.5}},
        {"network_config": {"heads": "2"}},
        {"network_config": {"__class__": "x"}},
        {"network_config": {"energy_scale": "x"}},
        {"network": "unet", "network_config": {"base": 1024, "multipliers": [1024] * 6, "blocks": 20}},
        {"network": "unet", "network_config": {"multipliers": 10**9}},
        {"network": "unet", "network_config": {"base": 32, "multipliers": ["x"]}},
        {"sampler": {"geometry": "os.system"}},
        {"sampler": {"geometry": ["x"]}},
        {"sampler": "os.system"},
        {"sampler": {"noise": "x"}},
        {"energy_method": {"a": 1}},
        {"seen": {"elements": [10**400]}},
    ],
    ids=str,
)
def test_configurations_that_lie_are_refused_quickly(var: Path, changes: dict[str, Any]) -> None:
    config = {**json.loads(small_model()[CONFIG]), **changes}
    config["network_config"] = {**json.loads(small_model()[CONFIG])["network_config"], **config["network_config"]}
    if config["network"] == "unet":
        config["network_config"] = changes["network_config"]
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    with pytest.raises(UserError) as refused:
        upload({CONFIG: json.dumps(config).encode()})
    assert len(str(refused.value)) < 600
    assert "Traceback" not in str(refused.value)
    assert time.monotonic() - began < 10
    assert psutil.Process().memory_info().rss - before < 500e6
    assert models.list_models() == []


def upload(changes: dict[str, bytes]) -> Any:
    files = {**small_model(), **changes}
    return add_upload([(name, io.BytesIO(data)) for name, data in files.items()], "lying")
