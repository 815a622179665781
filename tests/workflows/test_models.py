"""Models as files: what goes out comes back, and nothing of a bad file stays."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.jobs import queue
from core.models.checkpoint import save_model
from core.models.registry import build_network
from core.samplers.registry import sampler_values
from core.settings import ASSETS
from core.workflows import model_files, models
from core.workflows.context import UserError
from core.workflows.generate import GenerateParams, candidates_of, generate
from core.workflows.model_files import add_path, add_upload, pack_model
from core.workflows.store import folder, store
from core.workflows.train import TrainParams, plan_of
from db import candidates as candidate_rows
from db import jobs as job_rows
from tests.workflows.test_workflows import run_of

NAME = "starter-generator"
SHIPPED = ASSETS / "models" / NAME


def parts() -> dict[str, bytes]:
    return {name: (SHIPPED / name).read_bytes() for name in ("model.safetensors", "config.json", "card.json")}


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> io.BytesIO:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    packed.seek(0)
    return packed


def upload(members: dict[str, bytes], name: str = "mine") -> Any:
    return add_upload([("x.zip", zipped(members))], name)


def nothing_left(name: str = "mine") -> None:
    assert name not in [m.name for m in models.list_models()]
    assert list(folder("models").iterdir()) == []


def test_a_packed_model_comes_back_with_the_same_weights(starter: Path) -> None:
    packed = pack_model(NAME)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert sorted(archive.namelist()) == [f"{NAME}/{p}" for p in ("card.json", "config.json", "model.safetensors")]
        assert json.loads(archive.read(f"{NAME}/card.json"))["weights_sha256"] == models.get_model(NAME).hash
    added = add_upload([(f"{NAME}.zip", io.BytesIO(packed))], "copy")
    original = models.get_model(NAME)
    assert (added.hash, added.task, added.energy_method) == (original.hash, original.task, original.energy_method)
    assert added.card["dataset_hash"] == original.card["dataset_hash"]
    assert not models.is_shipped(added)
    assert models.is_shipped(original)
    assert [p.name for p in folder("models").iterdir()] == ["copy"]
    assert models.load_model("copy").seen["elements"] == models.load_model(NAME).seen["elements"]


def test_files_themselves_and_folders_are_taken_too(starter: Path, tmp_path: Path) -> None:
    files = parts()
    added = add_upload([(f"C:\\x\\{n}", io.BytesIO(d)) for n, d in files.items()], "loose")
    assert added.card["licence"] == "MIT"
    assert add_path(SHIPPED, "from folder").hash == added.hash
    (tmp_path / "weights.safetensors").write_bytes(files["model.safetensors"])
    (tmp_path / "config.json").write_bytes(files["config.json"])
    assert add_path(tmp_path / "weights.safetensors").name == "weights", "no card: named by its file"
    models.delete_model("loose")
    (tmp_path / "a.zip").write_bytes(zipped({f"deep/er/{n}": d for n, d in files.items()}).read())
    models.delete_model(NAME)
    assert add_path(tmp_path / "a.zip").name == NAME, "named by its card"
    with pytest.raises(UserError, match="There is no folder or file"):
        add_path(tmp_path / "none.zip")


def test_what_a_model_saw_is_filled_in_from_its_dataset(starter: Path) -> None:
    """A training outside the app cannot tell."""
    files = parts()
    config = json.loads(files["config.json"])
    seen = config.pop("seen")
    files["config.json"] = json.dumps(config).encode()
    card = json.loads(files["card.json"]) | {"dataset_hash": "0" * 64}
    add_upload([(n, io.BytesIO(d)) for n, d in files.items()], "told")
    assert models.load_model("told").seen == seen
    files["card.json"] = json.dumps(card).encode()
    add_upload([(n, io.BytesIO(d)) for n, d in files.items()], "unknown")
    assert models.load_model("unknown").seen == {}


@pytest.mark.slow
def test_the_papers_network_is_taken_too(starter: Path, tmp_path: Path) -> None:
    params = TrainParams("starter", "x", "modification", "palette", network="unet", preset="quick", steps=1)
    plan = plan_of(params)
    network = build_network("unet", plan.network_config)
    config = {"task": params.task, "method": plan.method, "network": "unet", "network_config": plan.network_config}
    config |= {"sampler": sampler_values(plan.sampler)}
    save_model(tmp_path, network.state_dict(), config, {"name": "paper"})
    assert add_path(tmp_path, "paper").name == "paper"
    loaded = models.load_model("paper").network.state_dict()
    assert loaded.keys() == network.state_dict().keys()
    models.delete_model("paper")
    config["network_config"] = {**plan.network_config, "base": 64}
    save_model(tmp_path, network.state_dict(), config, {})
    with pytest.raises(UserError, match="do not fit"):
        add_path(tmp_path, "paper")


BAD: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "empty": (dict, "model.safetensors and config.json missing"),
    "no config": (lambda: {"model.safetensors": b"x"}, "config.json missing"),
    "elsewhere": (lambda: {"a/model.safetensors": b"x", "b/config.json": b"{}"}, "config.json missing"),
    "pickled": (lambda: {"model.pt": b"x", "config.json": b"{}"}, "Pickled weights"),
    "several": (lambda: {"a/m.safetensors": b"x", "b/m.safetensors": b"y"}, "several safetensors"),
    "garbage": (lambda: {**parts(), "model.safetensors": b"\xff" * 64}, "no safetensors file, or it is damaged"),
    "cut": (lambda: {**parts(), "model.safetensors": parts()["model.safetensors"][:9999]}, "damaged"),
    "not json": (lambda: {**parts(), "config.json": b"{"}, "config.json cannot be read"),
    "deep": (lambda: {**parts(), "config.json": b"[" * 500_000}, "config.json cannot be read"),
    "a list": (lambda: {**parts(), "card.json": b"[]"}, "card.json cannot be read"),
    "NaN": (lambda: {**parts(), "card.json": b'{"a": NaN}'}, "card.json cannot be read"),
    "NUL": (lambda: {**parts(), "card.json": b'{"a": "\\u0000"}'}, "card.json cannot be read"),
    "large card": (lambda: {**parts(), "card.json": b'"' + b" " * 1024**2 + b'"'}, "larger than 1 MiB"),
    "lacking": (lambda: {**parts(), "config.json": b'{"task": "generation"}'}, "lacks method"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_archives_are_refused_in_words_and_leave_nothing(starter: Path, case: str) -> None:
    members, sentence = BAD[case]
    with pytest.raises(UserError, match=sentence):
        upload(members())
    nothing_left()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "x"}, "no task 'x'"),
        ({"method": "x"}, "no method 'x'"),
        ({"network": "x"}, "no network 'x'"),
        ({"network_config": {"width": 4096, "depth": 100, "heads": 4, "frequencies": 8}}, "do not fit"),
        ({"network_config": {"width": "wide"}}, "cannot be read"),
        ({"network_config": [1]}, "cannot be read"),
        ({"network_config": {"other": 1}}, "cannot be read"),
        ({"seen": {"elements": "B"}}, "what the model learned from"),
        ({"seen": [1]}, "what the model learned from"),
        ({"energy_method": "x" * 65}, "energy method"),
    ],
)
def test_configurations_are_checked_before_anything_is_built(
    starter: Path, changes: dict[str, Any], sentence: str
) -> None:
    config = {**json.loads(parts()["config.json"]), **changes}
    with pytest.raises(UserError, match=sentence):
        upload({**parts(), "config.json": json.dumps(config).encode()})
    nothing_left()


def test_paths_in_an_archive_lead_nowhere(starter: Path, tmp_path: Path) -> None:
    evil = {f"../../../../{tmp_path}/evil/{n}": d for n, d in parts().items()}
    upload({**evil, "README.md": b"text", "__MACOSX/model.safetensors": b"x"})
    assert [p.name for p in folder("models").iterdir()] == ["mine"]
    assert not (tmp_path / "evil").exists()
    with pytest.raises(UserError, match="1 to 60 letters"):
        upload(parts(), "../mine")


def test_archives_that_grow_are_stopped(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "MAX_WEIGHTS", 5 * 1024**2)
    bomb = {**parts(), "model.safetensors": bytes(50 * 1024**2)}
    packed = zipped(bomb, zipfile.ZIP_DEFLATED)
    assert len(packed.getvalue()) < 1024**2
    with pytest.raises(UserError, match="larger than 5 MiB"):
        add_upload([("x.zip", packed)], "mine")
    lying = packed.getvalue().replace((50 * 1024**2).to_bytes(4, "little"), (1024).to_bytes(4, "little"))
    with pytest.raises(UserError, match=r"damaged|larger"):
        add_upload([("x.zip", io.BytesIO(lying))], "mine")
    with pytest.raises(UserError, match="larger than 5 MiB"):
        add_upload([(n, io.BytesIO(d)) for n, d in bomb.items()], "mine")
    with pytest.raises(UserError, match="1,201 files"):
        upload({f"{i}.txt": b"" for i in range(1201)})
    nothing_left()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "Choose the model's"),
        (["x.zip", "config.json"], "not both"),
        (["a.safetensors", "b.safetensors"], "One model at a time"),
        (["model.ckpt"], "Pickled"),
        (["model.safetensors", "notes.txt"], "notes.txt is no part"),
        (["x.zip"], "damaged"),
    ],
)
def test_files_that_make_no_model_are_refused(starter: Path, files: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        add_upload([(name, io.BytesIO(b"x")) for name in files], "mine")
    nothing_left()


def test_a_full_disk_leaves_nothing(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models.shutil, "copyfile", full)
    with pytest.raises(UserError, match="No space left"):
        upload(parts())
    nothing_left()


def test_a_new_name_is_the_candidates_too(starter: Path) -> None:
    context = run_of("generate", GenerateParams(NAME, ("Ta1B2",), (191,), (), count=1, steps=2))
    generate(GenerateParams(NAME, ("Ta1B2",), (191,), (), count=1, steps=2), context)
    for status in ("running", "done"):
        with store().session() as session:
            job_rows.update_job(session, context.job_id, status=status)
        if status == "running":
            with pytest.raises(UserError, match=f"Job {context.job_id} .* needs {NAME}"):
                models.rename_model(NAME, "renamed")
    upload(parts(), "other")
    with pytest.raises(UserError, match="already"):
        models.rename_model(NAME, "other")
    with pytest.raises(UserError, match="1 to 60 letters"):
        models.rename_model(NAME, "a/b")
    assert models.rename_model(NAME, " renamed ").name == "renamed"
    with pytest.raises(UserError, match="There is no model"):
        models.get_model(NAME)
    with store().session() as session:
        assert [c.model for c in candidate_rows.get_candidates(session, candidates_of(context.job_id))] == ["renamed"]


def test_names_of_folders_are_never_shared(starter: Path) -> None:
    first = upload(parts(), "mine")
    models.rename_model("mine", "old")
    second = upload(parts(), "mine")
    assert first.folder != second.folder
    models.delete_model("mine")
    assert torch.isfinite(next(models.load_model("old").network.parameters())).all()
    models.delete_model(NAME)
    assert (SHIPPED / "model.safetensors").is_file(), "what came with the app stays on disk"


def test_a_model_that_a_job_needs_is_not_deleted(starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "tick", lambda: None)
    job_id = queue.submit("generate", "Generate", GenerateParams(NAME, ("Ta1B2",)), "cpu")
    with pytest.raises(UserError, match="needs starter-generator"):
        models.delete_model(NAME)
    queue.cancel(job_id)
    models.delete_model(NAME)
