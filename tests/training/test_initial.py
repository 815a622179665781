"""A training that begins with the weights of another model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from core.models.checkpoint import read_config, read_tensor_file
from core.training.__main__ import main
from core.workflows.dataset_export import export_dataset


def trained(monkeypatch: pytest.MonkeyPatch, data: Path, folder: Path, *asked: str) -> int:
    words = ["core.training", str(data), str(folder), "--batch", "8", "--device", "cpu", "--ema", "0", *asked]
    monkeypatch.setattr(sys, "argv", words)
    return main()


@pytest.mark.slow
def test_a_modifier_begins_with_a_generators_weights(
    starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = tmp_path / "data.safetensors", tmp_path / "generator" / "model"
    export_dataset("starter", data, tensors=True)
    assert trained(monkeypatch, data, model.parent, "--preset", "quick", "--steps", "2") == 0
    given = ("--task", "modification", "--steps", "1", "--learning-rate", "1e-9", "--initial", str(model))
    assert trained(monkeypatch, data, tmp_path / "modifier", *given) == 0
    assert read_config(tmp_path / "modifier" / "model")["network_config"] == read_config(model)["network_config"]
    first, then = (
        read_tensor_file(folder / "model.safetensors")[0] for folder in (model, tmp_path / "modifier" / "model")
    )
    assert first.keys() == then.keys()
    for name, weights in first.items():
        assert torch.allclose(weights.float(), then[name].float(), atol=1e-6), name

    assert trained(monkeypatch, data, tmp_path / "regression", "--task", "modification", "--method", "regression",
                   "--network", "unet", "--preset", "quick", "--initial", str(model)) == 2  # fmt: skip
    assert "cannot begin with the weights of that transformer" in capsys.readouterr().err
