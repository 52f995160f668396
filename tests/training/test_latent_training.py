"""An autoencoder trained by one stage, and diffusion over its latents by the next."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from benchmarks import latent_round_trip
from runs import StoppedError, metrics, stop_after
from safetensors.torch import load_file
from test_resume import assert_same

from synesthete import tasks
from synesthete.codecs.latent import LatentCodec
from synesthete.config import Stage, build
from synesthete.objectives import Autoencoding
from synesthete.pipeline import Pipeline
from synesthete.recipes import RECIPES
from synesthete.tasks import task_of
from synesthete.training import assembly, cost, loop, precompute
from synesthete.training.checkpoint import latest_checkpoint
from tiny_pictures import tiny_prepared, tiny_recipe


def latent_recipe(**changes):
    """The debug twin in float32."""
    recipe = RECIPES["music-latent-debug"]()
    for stage in recipe.stages:
        stage.precision = "no"
    recipe.weights = "float32"
    for name, value in changes.items():
        setattr(recipe, name, value)
    return recipe


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Its data: waveforms alone, for what would be encoded now is not what will be."""
    return tasks.prepare(latent_recipe(), tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def trained(sounds, tmp_path_factory):
    """A run folder of both stages, and all that was reported."""
    folder, said = tmp_path_factory.mktemp("trained") / "run", []
    loop.train_recipe(latent_recipe(), sounds, folder, report=said.append)
    return folder, said


def codec_of(folder, stage: str) -> dict[str, torch.Tensor]:
    state = load_file(latest_checkpoint(folder / "checkpoints" / stage) / "model.safetensors")
    return {key.removeprefix("codec."): value for key, value in state.items() if key.startswith("codec.")}


def signals_of(samples, num: int | None = None) -> torch.Tensor:
    return samples.signals().waveform(torch.arange(num or len(samples)))


def test_after_the_autoencoder_x_0_is_white(trained, sounds):
    """Measured when it has learned, with the weights that it is left with (DESIGN law 1)."""
    assert sounds.train.x_0 is None
    codec = Pipeline.load(str(trained[0] / "model")).codec
    x_0 = codec.encode(signals_of(sounds.train))
    assert x_0.mean(dim=(0, 2, 3)) == pytest.approx(0, abs=1e-3)
    assert x_0.std(dim=(0, 2, 3), correction=0) == pytest.approx(1, abs=1e-2)


def test_the_next_stage_learns_from_the_codec_as_it_was_left(trained, sounds):
    folder, said = trained
    left, found = codec_of(folder, "0-autoencode"), codec_of(folder, "1-denoise")
    assert all(torch.equal(found[key], value) for key, value in left.items())
    model = Pipeline.load(str(folder / "model")).codec
    assert all(torch.equal(value, left[key]) for key, value in model.state_dict().items())
    kept = load_file(next((folder / "latents").glob("*-00000.safetensors")))["values"]  # (n, V, c, h, w)
    expected = model.encode(signals_of(sounds.train))
    torch.testing.assert_close(kept[:, 0].float(), expected, rtol=2e-3, atol=2e-3)
    assert kept.dtype == torch.float16
    assert any(report.stage == "denoise: encoding" and report.step == len(sounds.train) for report in said)


def test_the_weights_it_is_left_with_are_the_averaged_ones(trained):
    folder = latest_checkpoint(trained[0] / "checkpoints" / "0-autoencode")
    averages = load_file(folder / "ema.safetensors")
    weights = [v for k, v in load_file(folder / "model.safetensors").items() if "codec.autoencoder" in k]
    sums = sorted(value.double().sum().item() for value in weights)
    assert sums == pytest.approx(sorted(value.double().sum().item() for value in averages.values()))


def test_the_round_trip_is_told_on_held_out_sounds(trained):
    """With its floor, which is another sound (DESIGN law 10)."""
    folder, said = trained
    lines = [line for line in metrics(folder) if line["stage"] == "autoencode"]
    assert {"loss", "l1", "spectral", "edges", "kl"} <= lines[0].keys()
    found = [line for line in lines if "round_trip" in line]
    assert found and all(0 < line["round_trip"] < 100 and line["round_trip_floor"] > 0 for line in found)
    assert any("dB (another sample" in note for report in said for note in report.notes)
    assert {path.suffix for path in (folder / "previews").glob("restored_0000006.*")} == {".png", ".wav"}


def test_stopped_anywhere_it_goes_on_to_the_bit(trained, sounds, tmp_path):
    """The codec's weights, its latents' statistics and what was encoded among it (DESIGN law 7)."""
    for stop in (("autoencode", 5), ("autoencode", 6), ("denoise", 4)):
        with pytest.raises(StoppedError):
            loop.train_recipe(latent_recipe(), sounds, tmp_path / "run", report=stop_after(*stop))
    loop.train_recipe(latent_recipe(), sounds, tmp_path / "run")
    assert_same(tmp_path / "run", trained[0])


def test_the_finished_model_plays(trained):
    pipeline = Pipeline.load(str(trained[0] / "model"))
    assert isinstance(pipeline.codec, LatentCodec)
    output = pipeline(torch.zeros(2, dtype=torch.int64))
    assert output.signal.shape == (2, 8000)
    assert torch.isfinite(output.signal).all()


def test_fresh_weights_are_of_the_seed_not_of_the_data(sounds):
    """The statistics of a codec are its whole state, with whatever weights it had when the data were prepared."""
    first, again, other = (assembly.make_parts(latent_recipe(seed=seed), sounds).codec for seed in (0, 0, 1))
    weights = [codec.autoencoder.encoder.conv_in.weight for codec in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(first.base.mean, sounds.statistics["base.mean"])
    prepared = sounds.statistics["autoencoder.encoder.conv_in.weight"]
    assert not torch.equal(weights[0], prepared)


def test_a_run_that_goes_on_from_a_model_takes_its_autoencoder_along(trained, sounds):
    """Latents of another autoencoder would say nothing to its denoiser."""
    parts = assembly.make_parts(latent_recipe(), sounds)
    assembly.load_start_weights(parts, trained[0] / "model")
    left = codec_of(trained[0], "0-autoencode")
    assert all(torch.equal(value, left[key]) for key, value in parts.codec.state_dict().items())


def test_a_step_of_each_stage_can_be_run_dry():
    """What `show --cost` runs: sounds for the codec, x_0 for the denoiser."""
    recipe = latent_recipe()
    for stage in recipe.stages:
        cost.DryRun(recipe, stage, task_of(recipe).dummy_batch(recipe, stage, 8)).step(8)


def test_pictures_go_through_latents_as_well(tmp_path):
    """Batches of pictures, augmented; the views of each are encoded once, when the autoencoder has learned."""
    recipe = tiny_recipe()
    recipe.codec = build(LatentCodec, base=recipe.codec, channels=(8, 8), latent_channels=4, patch_size=1)
    recipe.denoiser.sample_size, recipe.denoiser.in_channels = (4, 4), 4
    steps = {"num_steps": 2, "batch_size": 8, "num_warmup_steps": 1, "preview_every": 2, "precision": "no"}
    first = Stage("autoencode", build(Autoencoding), train=("codec",), ema_decay=None, **steps)
    recipe.stages = [first, *recipe.stages]
    recipe.stages[1].num_steps = 2
    prepared = tiny_prepared()
    codec = recipe.codec().fit([prepared.train.pictures[:]])
    prepared.statistics = codec.state_dict()
    loop.train_recipe(recipe, prepared, tmp_path / "run")
    values = load_file(next((tmp_path / "run" / "latents").glob("*.safetensors")))["values"]
    assert values.shape == (len(prepared.train), precompute.NUM_VIEWS, 4, 4, 4)
    assert not torch.equal(values[:, 0], values[:, 1])
    found = [line for line in metrics(tmp_path / "run") if "round_trip" in line]
    assert len(found) == 1 and found[0]["round_trip"] > 0
    assert json.loads((tmp_path / "run/model/codec/config.json").read_text())["_class_name"] == "LatentCodec"


def test_the_benchmark_compares_both_spaces(trained, sounds, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(tasks, "prepare", lambda recipe, folder: sounds)
    rival = latent_recipe()
    rival.codec, rival.denoiser.sample_size, rival.denoiser.in_channels = rival.codec.base, (64, 124), 1
    (tmp_path / "rival.yaml").write_text(rival.to_yaml())
    words = ["--model", trained[0] / "model", "--rival", tmp_path / "rival.yaml", "--num", 4, "--passes", 2, "--json"]
    monkeypatch.setattr(sys, "argv", ["latent_round_trip", *map(str, words)])
    latent_round_trip.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["compression"] == pytest.approx(64 * 124 / (4 * 8 * 16), rel=1e-3)
    ways = found["round_trip"]
    assert ways["base"]["log_spectral_distance"] < ways["latents"]["log_spectral_distance"]
    assert ways["base"]["magnitude_snr"] > ways["latents"]["magnitude_snr"]
    assert 0 < ways["grid"]["log_spectral_distance"] < 100 and ways["num"] == 4
    steps = found["steps"]
    assert steps["speedup"] == pytest.approx(steps["base"]["seconds"] / steps["latents"]["seconds"], rel=0.05)
    assert steps["base"]["shape"] == [1, 64, 124] and steps["latents"]["shape"] == [4, 8, 16]
