"""Where weights are found: a folder, SYNESTHETE_WEIGHTS, the Hugging Face cache, the Hub; what is said if nowhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from safetensors.torch import save_file

from synesthete import hub
from synesthete.pipeline import Pipeline
from synesthete.types import InputError

VOCOS = "charactr/vocos-mel-24khz"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch) -> dict[str, Path]:
    """Empty places of the test's own, and no network."""
    found = {"weights": tmp_path / "weights", "cache": tmp_path / "hf"}
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(found["weights"]))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(found["cache"]))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return found


@pytest.fixture
def asked(monkeypatch) -> list[dict[str, Any]]:
    """What the Hub was asked for; it answers with the folder or error that a test puts under "answer"."""
    calls: list[dict[str, Any]] = [{}]

    def snapshot_download(repository: str, **options: Any) -> str:
        if options["local_files_only"]:
            raise FileNotFoundError("not in the cache")
        calls.append({"repository": repository, **options})
        if isinstance(calls[0]["answer"], Exception):
            raise calls[0]["answer"]
        return str(calls[0]["answer"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def model_folder(folder: Path, *names: str) -> Path:
    for name in names or ("config.json", "model.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def cached(cache: Path, repository: str, revision: str, *names: str, kind: str = "models") -> Path:
    """A snapshot as the Hub's client leaves it, with main pointing at it."""
    place = cache / f"{kind}--{repository.replace('/', '--')}"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(revision)
    return model_folder(place / "snapshots" / revision, *names)


def refused(error: type[Exception]) -> Exception:
    response = type("Response", (), {"headers": {}, "request": None, "status_code": 403, "url": ""})()
    return error("the long message of the Hub\nin several lines", response=response)


@pytest.mark.parametrize("name", hub.PRETRAINED)
def test_every_entry_says_what_it_is_and_pins_a_whole_commit(name):
    entry = hub.PRETRAINED[name]
    assert hub.is_hub_id(name)
    assert entry.licence
    assert entry.purpose
    assert entry.revision is None or re.fullmatch("[0-9a-f]{40}", entry.revision)


def test_a_folder_is_found_by_its_path(tmp_path):
    folder = model_folder(tmp_path / "mine" / "model")
    assert hub.find_weights(str(folder)) == folder == hub.local_weights(str(folder))
    assert hub.find_weights("mine/model").resolve() == folder  # a path is read as a path before it is read as an id


def test_a_folder_put_there_by_hand_is_found_by_id(places):
    folder = model_folder(places["weights"] / "somebody" / "sees")
    assert hub.find_weights("somebody/sees") == folder == hub.local_weights("somebody/sees")


def test_the_cache_is_read_at_the_pinned_revision(places):
    pinned = cached(places["cache"], VOCOS, hub.PRETRAINED[VOCOS].revision, "pytorch_model.bin", "config.yaml")
    cached(places["cache"], VOCOS, "a" * 40, "pytorch_model.bin", "config.yaml")  # main has moved on
    assert hub.find_weights(VOCOS, hub.PICKLED) == pinned
    newest = cached(places["cache"], "somebody/sees", "b" * 40)
    assert hub.find_weights("somebody/sees") == newest
    data = "ILSVRC/imagenet-1k"
    photographs = cached(places["cache"], data, hub.PRETRAINED[data].revision, "data/0.parquet", kind="datasets")
    assert hub.find_weights(data, ["*.parquet"]) == photographs


def test_a_pickle_is_no_model_unless_asked_for(places):
    folder = model_folder(places["weights"] / "somebody" / "sees", "config.json", "pytorch_model.bin")
    assert hub.local_weights("somebody/sees") is None
    assert hub.local_weights("somebody/sees", hub.PICKLED) == folder


def test_a_lone_config_is_no_model(places, tmp_path):
    cached(places["cache"], "somebody/sees", "b" * 40, "config.json")
    assert hub.local_weights("somebody/sees") is None
    model_folder(tmp_path / "empty", "config.json")
    with pytest.raises(InputError, match=r"empty: no file like \*\.safetensors in it; give the folder"):
        hub.find_weights(str(tmp_path / "empty"))


def test_one_voice_of_many_is_found_by_its_path(places):
    folder = model_folder(places["weights"] / "rhasspy/piper-voices", "en/en_US/amy/medium/en_US-amy-medium.onnx")
    assert hub.local_weights("rhasspy/piper-voices", ["en/en_US/amy/medium/*.onnx", "*.json"]) == folder
    assert hub.local_weights("rhasspy/piper-voices", ["en/en_US/joe/medium/*.onnx", "*.json"]) is None


@pytest.mark.parametrize(("field", "way"), [("codec.vocos", "pass --set codec.vocos=PATH"), (None, "a folder's path")])
def test_offline_it_says_what_to_put_where(places, field, way):
    with pytest.raises(InputError) as caught:
        hub.find_weights(VOCOS, hub.PICKLED, field=field)
    message = str(caught.value)
    assert message.startswith(f"{VOCOS} is not on this machine and the Hub cannot be reached; put its files at ")
    assert str(places["weights"] / VOCOS) in message
    assert way in message
    assert "\n" not in message
    assert hub.local_weights(VOCOS, hub.PICKLED) is None


@pytest.mark.parametrize("name", ["no such folder", "/nowhere/model", "./sees", "~/nobody/sees", "a/b/c", "weights"])
def test_what_is_neither_folder_nor_id_is_not_asked_for(asked, name):
    with pytest.raises(InputError, match="no such folder; give a model's folder or its Hub id"):
        hub.find_weights(name)
    assert len(asked) == 1


def test_the_hub_is_asked_for_the_pinned_revision_and_nothing_but_what_is_needed(asked, tmp_path):
    asked[0]["answer"] = model_folder(tmp_path / "downloaded")
    assert hub.find_weights("openai/whisper-base") == tmp_path / "downloaded"
    assert asked[1] == {
        "repository": "openai/whisper-base",
        "repo_type": "model",
        "revision": hub.PRETRAINED["openai/whisper-base"].revision,
        "allow_patterns": list(hub.WEIGHTS),
        "local_files_only": False,
    }
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in hub.WEIGHTS)


def test_what_was_published_without_safetensors_is_one_line(asked, tmp_path):
    asked[0]["answer"] = model_folder(tmp_path / "downloaded", "config.json")
    with pytest.raises(InputError, match=r"somebody/sees: no file like \*\.safetensors is published there"):
        hub.find_weights("somebody/sees")


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("ILSVRC/imagenet-1k", "https://huggingface.co/datasets/ILSVRC/imagenet-1k"),
        ("somebody/sees", "https://huggingface.co/somebody/sees"),
    ],
)
def test_a_gated_repository_says_where_its_licence_is_accepted(asked, name, page):
    asked[0]["answer"] = refused(GatedRepoError)
    with pytest.raises(InputError) as caught:
        hub.find_weights(name)
    message = str(caught.value)
    assert f"{name} is gated: accept its licence at {page} and log in with `hf auth login`, or put" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (refused(RepositoryNotFoundError), "somebody/sees is not on this machine and the Hub has none of that name"),
        (RuntimeError("client has been closed"), "the Hub cannot be reached"),
        (ConnectionError(111, "Connection refused"), "the Hub cannot be reached"),
        (OSError(28, "No space left on device", "/hf/blobs"), "/hf/blobs: No space left on device; free some space"),
    ],
)
def test_whatever_a_download_fails_of_is_one_line(asked, error, named):
    asked[0]["answer"] = error
    with pytest.raises(InputError, match=named) as caught:
        hub.find_weights("somebody/sees")
    assert "\n" not in str(caught.value)


def test_weights_are_read_by_name_safetensors_first(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert hub.read_weights(tmp_path)["a"].tolist() == [1, 1]
    save_file({"a": torch.zeros(2)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.ones(1)}, tmp_path / "model-2.safetensors")
    assert {name: value.tolist() for name, value in hub.read_weights(tmp_path).items()} == {"a": [0, 0], "b": [1]}


class Command:
    """An object whose unpickling runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("taken-over",)


@pytest.mark.parametrize("content", [{"a": Command()}, [torch.ones(2)], {"a": {"b": torch.ones(2)}}, b"", None])
def test_a_bin_is_read_as_tensors_and_nothing_else(content, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / "pytorch_model.bin").write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / "pytorch_model.bin")
    expected = "no .*safetensors or .*bin in it" if content is None else "damaged, or more than tensors in it"
    with pytest.raises(InputError, match=expected):
        hub.read_weights(tmp_path)
    assert not (tmp_path / "taken-over").exists()


def test_a_digest_names_the_content_wherever_it_lies(tmp_path):
    first, second = (model_folder(tmp_path / name, "config.json", "sub/model.safetensors") for name in "ab")
    digest = hub.weights_digest(first)
    assert re.fullmatch("[0-9a-f]{32}", digest)
    assert hub.weights_digest(second) == digest
    model_folder(second, "README.md", "preview.png")  # neither weights nor settings
    assert hub.weights_digest(second) == digest
    for change in (b"{}", b"{ }"):
        (second / "config.json").write_bytes(change)
        assert hub.weights_digest(second) not in (digest, hub.weights_digest(first))
        digest = hub.weights_digest(second)
    (first / "sub" / "model.safetensors").rename(first / "model.safetensors")
    assert hub.weights_digest(first) != hub.weights_digest(model_folder(tmp_path / "b"))


def test_a_digest_reads_a_file_again_only_when_it_changed(tmp_path, monkeypatch):
    read = []
    real = hub.digest
    monkeypatch.setattr(hub, "digest", lambda value, size: read.append(value) or real(value, size=size))
    folder = model_folder(tmp_path / "model")
    hub.weights_digest(folder)
    hub.weights_digest(folder)
    assert len([value for value in read if isinstance(value, Path)]) == 2
    os.utime(folder / "config.json", ns=(1, 1))
    hub.weights_digest(folder)
    assert [value for value in read if isinstance(value, Path)][2:] == [folder / "config.json"]


@pytest.mark.parametrize("name", ["pipeline.py", "denoiser/unet.PY", "a.pkl", "codec/weights.pt", "lib.so", "run.sh"])
def test_a_model_folder_with_a_program_in_it_is_not_loaded(name, tmp_path):
    folder = model_folder(tmp_path / "model", hub.MODEL_INDEX, name)
    with pytest.raises(InputError, match=r"no model has such a file"):
        hub.check_files(folder)
    with pytest.raises(InputError, match=r"no model has such a file"):
        Pipeline.from_pretrained(folder)


def test_what_is_not_pinned_is_said_to_be_the_newest(asked, tmp_path, caplog):
    asked[0]["answer"] = model_folder(tmp_path / "downloaded")
    for name in ("openai/whisper-base", "someone/something"):
        hub.find_weights(name)
    assert [record.getMessage() for record in caplog.records] == [
        "someone/something: no revision of it is pinned; the newest is downloaded"
    ]
