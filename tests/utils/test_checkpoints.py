import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from did.errors import DidError
from did.utils import checkpoints
from did.utils.checkpoints import load, put, save


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(4, 3, 5, 5, generator=generator).to(memory_format=torch.channels_last),
        "half": torch.randn(7, generator=generator, dtype=torch.bfloat16),
        "number": torch.tensor(3),
    }


def test_tensors_and_what_is_to_be_known_come_back_exactly(tmp_path):
    floats = [random.Random(n).uniform(-1, 1) * 10 ** random.Random(-n).randint(-300, 300) for n in range(1000)]
    about = {"floats": floats, "third": 1 / 3, "tiny": 5e-324, "none": None, "word": "Î ≤ 0", "rows": [{"a": 0.1}]}
    save(tmp_path / "new" / "x.safetensors", tensors(), about)
    again, said = load(tmp_path / "new" / "x.safetensors")
    assert said == about
    assert again.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert again[name].dtype == tensor.dtype and torch.equal(again[name], tensor), name


def test_a_file_of_another_program_has_nothing_to_say(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors", {"format": "pt"})
    assert load(tmp_path / "x.safetensors")[1] == {}


class Harmful:
    """What a pickle runs where it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def foreign(path: Path, kind: str) -> None:
    save(path, tensors(), {})
    whole = path.read_bytes()
    if kind in ("missing", "a folder"):
        path.unlink()
        if kind == "a folder":
            path.mkdir()
    elif kind == "torch.save":
        torch.save(tensors(), path)
    elif kind == "no JSON":
        save_file({"a": torch.zeros(2)}, path, {checkpoints.KEY: "{"})
    else:
        content = {
            "empty": b"",
            "cut in the header": whole[:50],
            "cut in the tensors": whole[:-9],
            "a pickle": pickle.dumps(Harmful()),
            "a text": b"weights, please\n" * 100,
            "ONNX": b"\x08\x08\x12\x07pytorch\x1a\x062.15.0:\xe7\x07\n",
        }
        path.write_bytes(content[kind])


KINDS = "missing|a folder|empty|cut in the header|cut in the tensors|a pickle|torch.save|a text|ONNX|no JSON"


@pytest.mark.parametrize("kind", KINDS.split("|"))
def test_what_is_no_checkpoint_is_one_sentence_and_nothing_is_run(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.safetensors"
    foreign(path, kind)
    with pytest.raises(DidError, match=r"x\.safetensors.*: call the author") as caught:
        load(path, fix="call the author")
    assert "\n" not in str(caught.value)
    assert ("there is no checkpoint" in str(caught.value)) == (kind == "missing")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.update(weight=torch.zeros(3, 2)), "size mismatch for weight"),
        (lambda t: t.pop("bias"), 'Missing key.*"bias"'),
        (lambda t: t.update(more=torch.zeros(1)), 'Unexpected key.*"more"'),
    ],
)
def test_tensors_of_another_model_are_one_sentence(tmp_path, change, named):
    module = nn.Linear(2, 2)
    given = {name: tensor.clone() + 1 for name, tensor in module.state_dict().items()}
    put(module, given, tmp_path / "x")
    assert torch.equal(module.bias, given["bias"])
    change(given)
    with pytest.raises(DidError, match=f"the tensors in .*x do not fit the model .*{named}") as caught:
        put(module, given, tmp_path / "x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("said", "named"), [((), "(Runtime|OS)Error"), (("out of memory",), "out of memory")])
def test_an_error_of_one_line_or_none_is_one_sentence(tmp_path, monkeypatch, said, named):
    def refuse(kind):
        def call(*_, **__):
            raise kind(*said)

        return call

    module = nn.Linear(2, 2)
    monkeypatch.setattr(module, "load_state_dict", refuse(RuntimeError))
    with pytest.raises(DidError, match=rf"do not fit the model \({named}\)"):
        put(module, {}, tmp_path / "x")
    monkeypatch.setattr(checkpoints, "safe_open", refuse(OSError))
    with pytest.raises(DidError, match=rf"is not a complete safetensors file \({named}\)"):
        load(tmp_path / "x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_never_written(tmp_path, value):
    path = tmp_path / "x.safetensors"
    save(path, tensors(), {})
    before = path.read_bytes()
    bad = tensors()
    bad["weight"][0, 1, 2, 3] = value
    with pytest.raises(DidError, match="'weight' has entries that are not finite"):
        save(path, bad, {})
    assert path.read_bytes() == before


def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_stays(small_disk):
    path = small_disk / "x.safetensors"
    save(path, {"a": torch.ones(40_000)}, {"iteration": 1})
    with pytest.raises(DidError, match=r"The disk is full: .*small; free some space") as caught:
        save(path, {"a": torch.ones(40_000) * 2}, {"iteration": 2})
    assert "\n" not in str(caught.value)
    kept, about = load(path)
    assert about == {"iteration": 1} and torch.equal(kept["a"], torch.ones(40_000))
    assert [file.name for file in small_disk.iterdir()] == ["x.safetensors"]


def test_about_is_read_without_the_tensors(tmp_path):
    file = tmp_path / "a.safetensors"
    checkpoints.save(file, {"x": torch.zeros(3)}, {"seconds": 1.5})
    assert checkpoints.about(file) == checkpoints.load(file)[1] == {"seconds": 1.5}
    with pytest.raises(DidError, match="there is no checkpoint"):
        checkpoints.about(tmp_path / "b.safetensors")
    file.write_bytes(b"x")
    with pytest.raises(DidError, match="not a complete safetensors file .*: remove it"):
        checkpoints.about(file, "remove it")


def test_a_folder_that_becomes_read_only_is_one_sentence(read_only):
    with pytest.raises(DidError, match=r"Nothing can be written to .*read-only \(read-only file system\)"):
        save(read_only / "x.safetensors", {"a": torch.ones(4)}, {})
