"""A dry run of a whole training, and the published networks that random weights stand in for."""

from __future__ import annotations

import json
import os
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from synesthete import hub
from synesthete.codecs.autoencoder import AutoencoderCodec, make_autoencoder
from synesthete.codecs.vocoders import Vocos
from synesthete.config import Stage, build
from synesthete.data.speech import kokoro
from synesthete.denoisers.stable_diffusion import KNOWN, changed_settings
from synesthete.objectives import Denoising
from synesthete.recipes import find_recipe
from synesthete.recipes.fit import find_needs
from synesthete.recipes.images import SMALL_AUTOENCODER, STABLE_DIFFUSION
from synesthete.tasks import task_of
from synesthete.training import cost, dry_run_report, published
from synesthete.training.cost import Cost, Memory
from synesthete.training.dry_run_report import dry_run_recipe, what_to_set
from synesthete.training.published import PUBLISHED, Network, stand_ins
from synesthete.training.weights import Weights
from synesthete.types import InputError
from tiny import DEBUG, debug_recipe

BASE, VAE = "stable-diffusion-v1-5/stable-diffusion-v1-5", "stabilityai/sd-vae-ft-mse"
GIGABYTE = 10**9


@pytest.fixture
def in_process(monkeypatch):
    """No process of its own for a step, which takes seconds to begin, and no step to predict another."""
    monkeypatch.setattr(cost, "in_own_process", lambda run, *arguments: run(*arguments))

    def predict(recipe, stage, dummies, most):
        return Cost(stage.name, stage.batch_size, stage.batch_size, Memory(1000, 0, 0, 1000), 1.0, 1)

    monkeypatch.setattr(cost, "predict", predict)


def dry_run(folder, **changes):
    recipe = debug_recipe()
    return dry_run_recipe(recipe, task_of(recipe).dummy_batch, folder, **changes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_are_as_large_as_published(name):
    found = [sum(p.numel() for p in network.make().parameters()) for network in PUBLISHED[name]]
    assert found == [network.num_parameters for network in PUBLISHED[name]]
    known = hub.PRETRAINED.get(name)
    if known and known.num_bytes:
        assert 4 * sum(found) == pytest.approx(known.num_bytes, rel=0.002)


def test_what_is_built_is_what_was_published():
    """The defaults and tables of our readers are the values of the repositories."""
    unet, vae, _ = PUBLISHED[BASE]
    assert {**changed_settings(unet.fields), "cross_attention_dim": 768} == {**KNOWN[BASE], "cross_attention_dim": 768}
    ours, downsampling, channels = make_autoencoder(STABLE_DIFFUSION)
    shapes = {key: value.shape for key, value in vae.make().state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes
    assert (downsampling, channels) == (8, 4)
    (vocos,) = PUBLISHED["charactr/vocos-mel-24khz"]
    assert Vocos().fields == vocos.fields
    length, _, width = published.KOKORO["voice"]
    assert (published.KOKORO["sample_rate"], width) == (kokoro.SAMPLE_RATE, kokoro.STYLE_SIZE)
    assert width == 2 * published.KOKORO["style_dim"]
    assert length == kokoro.MAX_SYMBOLS + 1


def test_random_weights_are_found_as_if_they_were_published(tmp_path, monkeypatch):
    """And what is on the machine stays as it is; afterwards nothing is changed."""
    fields = {key: value for key, value in SMALL_AUTOENCODER.items() if key != "kind"}
    small = Network("diffusers:AutoencoderKL", fields, 0, "", file=published.WEIGHTS)
    monkeypatch.setitem(PUBLISHED, VAE, (small,))
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path / "own"))
    (tmp_path / "own/somebody/model").mkdir(parents=True)
    recipe = find_recipe("images-stl10")
    recipe.codec = build(AutoencoderCodec, model=VAE, size=32)
    with stand_ins(recipe, tmp_path / "made") as missing:
        assert missing == [VAE]
        assert (hub.weights_folder() / "somebody/model").is_dir()
        codec = AutoencoderCodec(model=VAE, size=32)
        x_0 = codec.fit([torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)]).encode(torch.zeros(1, 3, 32, 32))
        there = load_file(hub.find_weights(VAE) / published.WEIGHTS)
        with stand_ins(recipe, tmp_path / "again") as others:
            assert others == []  # they are there
    assert torch.isfinite(x_0).all()
    assert x_0.std() > 0
    assert all(torch.equal(value, there[name]) for name, value in codec.autoencoder.state_dict().items())
    assert os.environ["SYNESTHETE_WEIGHTS"] == str(tmp_path / "own")


def test_every_stage_is_taken_written_and_read_back(in_process, tmp_path):
    found = dry_run(tmp_path / "dry")
    assert found.problems == []
    align, denoise = (one.measured for one in found.stages)
    need = find_needs(debug_recipe()).stages[1]
    assert (denoise.num_trained, denoise.num_frozen) == (need.num_trained, 0)
    # Weights, moments and averages, as is predicted of the whole training.
    assert denoise.checkpoint == pytest.approx(need.least_memory - 4 * need.num_trained, rel=0.05)
    assert align.num_frozen > align.num_trained > 0
    assert [path.name for path in sorted((tmp_path / "dry/checkpoints").glob("*/*"))] == ["step_0000006"] * 2
    assert found.model == sum(path.stat().st_size for path in (tmp_path / "dry/model").rglob("*") if path.is_file())


def test_what_does_not_come_back_is_said(in_process, tmp_path, monkeypatch):
    monkeypatch.setattr(Weights, "restore", lambda self, folder: None)
    with pytest.raises(InputError, match="is not what was written"):
        dry_run(tmp_path / "dry")


def test_a_stage_that_does_not_fit_is_not_run_and_the_others_are(in_process, tmp_path, monkeypatch):
    small, taken = cost.predict, []

    def predict(recipe, stage, dummies, most):
        found = small(recipe, stage, dummies, most)
        return replace(found, seconds=None, memory=Memory(1, 0, 0, 2000)) if stage.name == "align" else found

    def run(function, *arguments):
        if function is dry_run_report.run_stage:
            taken.append(arguments[1])
            raise BrokenProcessPool  # as where the system ends a process
        return function(*arguments)

    monkeypatch.setattr(cost, "predict", predict)
    monkeypatch.setattr(cost, "in_own_process", run)
    align, denoise = dry_run(tmp_path / "dry", memory=2000).stages
    assert taken == [1]
    assert "--set stages.align.gradient_accumulation_steps=2" in align.problem
    assert "the system ended it" in denoise.problem


@pytest.mark.parametrize(
    ("memory", "checkpointing", "told"),
    [
        (8, False, "gradient_accumulation_steps=4"),  # 4 GB, and 1 for each of 4 samples
        (5, False, "gradient_accumulation_steps=16"),
        (4.5, False, "gradient_checkpointing=true"),
        (4.5, True, "a machine with more memory"),
    ],
)
def test_what_would_make_it_fit_is_told(memory, checkpointing, told):
    stage = Stage("s", build(Denoising), batch_size=16, gradient_checkpointing=checkpointing)
    predicted = Cost("s", 16, 16, Memory(GIGABYTE, 2 * GIGABYTE, GIGABYTE, 16 * GIGABYTE))
    assert told in what_to_set(stage, predicted, int(memory * GIGABYTE))


def test_the_command_leaves_nothing_unless_it_is_to_keep_it(in_process, tmp_path, command):
    call = ["train", DEBUG, "--dry-run", "--out", tmp_path / "run", "--json"]
    code, printed, said = command(*call, "--stages", "align")
    assert code == 0
    (stage,) = json.loads(printed.splitlines()[-1])["stages"]
    assert stage["measured"]["memory_in_all"] >= stage["measured"]["memory"] >= 0
    assert list(tmp_path.iterdir()) == []
    code, _, said = command(*call, "--stages", "align", "--keep")
    assert code == 0
    code, _, said = command(*call)
    assert code == 2
    assert "run-dry-run: there already" in said


def test_a_command_whose_stage_does_not_fit_says_what_to_set(in_process, tmp_path, command, monkeypatch):
    monkeypatch.setattr(cost, "available_memory", lambda: 1001)
    code, printed, said = command("train", DEBUG, "--dry-run", "--stages", "align", "--out", tmp_path / "run")
    assert code == 2
    assert "predicted" in printed
    assert "synesthete: stage align does not fit: needs 0.00 GB" in said
