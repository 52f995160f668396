"""A model goes to a Hub on loopback and comes back the same; whatever goes wrong on the way is one line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import torch
from huggingface_hub import constants, utils

from hub_server import READS, WRITES, HubServer
from synesthete import hub
from synesthete.config import Recipe
from synesthete.pipeline import Pipeline
from synesthete.types import InputError
from tiny_pictures import labels_in_turn, tiny_pipeline, tiny_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "me/tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run's model folder, with the recipe, and something else that is no part of a model."""
    folder = tmp_path_factory.mktemp("run") / "model"
    tiny_pipeline().save(folder)
    recipe = tiny_recipe()
    recipe.data.sources = ()
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    (folder / "notes.doc").write_text("not for the Hub")
    return folder


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[HubServer]:
    """The Hub that the client asks, with a token that may write, into a cache of the test's own; nothing waits."""
    server = HubServer()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants._HF_DEFAULT_ENDPOINT, server.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    for name, value in (("OFFLINE", False), ("DISABLE_XET", True), ("CACHE", str(tmp_path / "cache"))):
        monkeypatch.setattr(constants, f"HF_HUB_{name}", value)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", WRITES)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    utils.close_session()
    yield server
    utils.close_session()
    server.shutdown()
    server.server_close()


def refused(caught: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_pushed_is_loaded_by_its_name_and_makes_the_same(server, folder, command):
    code, told, _ = command("push", folder, NAME, "--license", "mit", "--json")
    assert code == 0
    assert json.loads(told) == {"address": f"{server.address}/{NAME}"}
    pushed = server.repositories[NAME]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert pushed.files.keys() == there - {"notes.doc"}
    assert pushed.large == {name for name in there if name.endswith(".safetensors")}
    assert not pushed.private
    card = pushed.files[hub.CARD].decode()
    assert card.startswith("---\nlicense: mit\n")
    assert f'\nsynesthete.load("{NAME}")(' in card
    assert f"\nsynesthete sample {NAME} --label" in card
    assert "tiny-pictures" not in card.partition("## Figures")[0].partition("A model of")[0].split("---")[2]
    for name in there - {"notes.doc", hub.CARD}:
        assert pushed.files[name] == (folder / name).read_bytes()

    raw = labels_in_turn(3)
    expected = Pipeline.load(str(folder))(raw)
    for again in (Pipeline.load(NAME), Pipeline.from_pretrained(NAME, revision="main")):
        assert torch.equal(again(raw).signal, expected.signal)
    assert Recipe.load(hub.find_model(NAME) / "recipe.yaml").name == "tiny-pictures"
    assert (hub.find_model(NAME) / hub.CARD).read_text() == card


def test_a_pipeline_pushes_itself_and_a_private_one_is_not_shown_to_everybody(server, monkeypatch):
    assert tiny_pipeline().push_to_hub(NAME, private=True) == f"{server.address}/{NAME}"
    assert server.repositories[NAME].private
    monkeypatch.setenv("HF_TOKEN", READS)
    assert Pipeline.load(NAME).class_names == ["red", "green", "blue"]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", f"{constants.HF_HUB_CACHE}-2")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(
        InputError, match=r"the Hub has none of that name, or shows it only to who may see it"
    ) as caught:
        Pipeline.load(NAME)
    assert refused(caught).startswith(f"{NAME} is not on this machine and ")


def test_a_transfer_that_breaks_off_goes_on_where_it_was(server, folder):
    tiny_pipeline().push_to_hub(NAME)
    server.cut = 2
    assert torch.equal(Pipeline.load(NAME)(labels_in_turn(2)).x_0, Pipeline.load(str(folder))(labels_in_turn(2)).x_0)
    assert server.cut == 0


def test_a_transfer_that_never_ends_is_one_line_and_leaves_no_half_model(server):
    tiny_pipeline().push_to_hub(NAME)
    server.cut = 10**6
    with pytest.raises(
        InputError, match=r"is not on this machine and the Hub cannot be reached; put its files at"
    ) as e:
        Pipeline.load(NAME)
    refused(e)
    server.cut = 0
    assert Pipeline.load(NAME).class_names == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("token", "failing", "reason"),
    [
        (READS, 0, r"the Hub refused it: the token may not do that \(`hf auth login` with one that may\)"),
        ("nobody's", 0, r"the Hub does not know the token \(`hf auth login`\)"),
        (None, 0, r"the Hub does not know the token \(`hf auth login`\)"),
        (WRITES, 500, r"the Hub failed with 500"),
    ],
)
def test_a_push_that_is_refused_is_one_line(server, folder, command, monkeypatch, token, failing, reason):
    server.failing = failing
    monkeypatch.setenv("HF_TOKEN", token or "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "nowhere")
    code, _, said = command("push", folder, NAME)
    assert code == 2
    assert re.fullmatch(rf"synesthete: {NAME}: not uploaded, {reason}; the same call does it later\n", said)
    assert not server.repositories


def test_what_is_not_there_is_one_line(server, folder, command):
    with pytest.raises(InputError, match=r"the Hub has none of that name") as caught:
        Pipeline.load("me/nothing")
    refused(caught)
    tiny_pipeline().push_to_hub(NAME)
    with pytest.raises(InputError, match=r"the Hub has no such revision of it") as caught:
        Pipeline.from_pretrained(NAME, revision="before")
    refused(caught)
    for name in ("no-owner", "./folder/of", "me/na me"):
        code, _, said = command("push", folder, name)
        assert code == 2
        assert said.endswith(f"synesthete: {name}: no name of a repository; give owner/name\n")


def test_what_could_run_is_not_pushed(server, tmp_path, command):
    (tmp_path / "model").mkdir()
    for name in (hub.MODEL_INDEX, "model.py"):
        (tmp_path / "model" / name).touch()
    code, _, said = command("push", tmp_path / "model", NAME)
    assert (code, said.count("\n")) == (2, 1)
    assert "which could run as a program" in said
    assert not server.repositories
