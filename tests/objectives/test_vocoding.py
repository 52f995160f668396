"""What a vocoder minimises: spectrograms, not phases; and a discriminator that no gradient crosses to or from."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from synesthete import seeding, tasks
from synesthete.codecs.mel import MelCodec, VocoderCodec
from synesthete.diffusion.process import Process
from synesthete.objectives import Parts, Vocoding
from synesthete.objectives.vocoding import SpectrogramDiscriminator, feature_distance, hinge, spectral_distance
from synesthete.pipeline import Pipeline
from synesthete.recipes import RECIPES
from synesthete.recipes.fit import check_fit
from synesthete.recipes.music import music_vocoder
from synesthete.training import loop
from synesthete.types import Batch, InputError

RATE = 8000
SMALL = ((256, 64, 256), (128, 32, 128))
FRAMES = {"num_samples": 4096, "sample_rate": RATE, "n_fft": 256, "hop_length": 64, "n_mels": 40}


def sounds(num: int = 3, num_samples: int = 4096) -> torch.Tensor:
    """Tones of several harmonics, each with its pitch, and a little hiss (num, S)."""
    time = torch.arange(num_samples) / RATE
    pitches = torch.linspace(150, 400, num)[:, None]
    tones = sum(torch.sin(2 * torch.pi * k * pitches * time) / k for k in range(1, 8))
    hiss = torch.randn(num, num_samples, generator=torch.Generator().manual_seed(0))
    return 0.2 * tones + 0.005 * hiss


def batch_of(waveforms: torch.Tensor) -> Batch:
    return Batch(signal=waveforms, raw=torch.zeros(len(waveforms)), label=torch.zeros(len(waveforms)).long())


def attached(**settings) -> Vocoding:
    torch.manual_seed(0)
    codec = VocoderCodec(**FRAMES, dim=32, intermediate_dim=64, num_layers=2)
    parts = Parts(codec, nn.Identity(), nn.Identity(), Process())
    given = {"crop": 2048, "resolutions": SMALL, "discriminator_resolutions": SMALL, "discriminator_channels": 4}
    return Vocoding(**(given | settings)).attach(parts)


def gradients(objective: Vocoding, loss: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    objective.zero_grad()
    if loss is None:
        loss = objective(batch_of(sounds()), torch.Generator().manual_seed(0))["loss"]
    loss.backward()
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


# distances


def test_the_distance_hears_spectra_and_not_phases():
    real = sounds()
    noise = 0.2 * torch.randn(real.shape, generator=torch.Generator().manual_seed(1))
    itself, turned, louder, other = (spectral_distance(real, x, SMALL) for x in (real, -real, 2 * real, noise))
    assert sum(itself) == 0 and sum(turned) < 1e-3
    assert louder.convergence == pytest.approx(1, abs=0.01)
    assert louder.log_magnitude == pytest.approx(0.693, abs=0.02)  # ln 2
    assert sum(other) > 2 * sum(louder)


def test_silence_costs_nothing_and_has_gradients():
    made = torch.zeros(2, 2048, requires_grad=True)
    distance = spectral_distance(torch.zeros(2, 2048), made, SMALL)
    sum(distance).backward()
    assert sum(distance) == 0 and torch.isfinite(made.grad).all()


# the objective


def test_every_parameter_learns():
    objective = attached(adversarial_weight=0.1)
    found = gradients(objective)
    assert found.keys() == dict(objective.named_parameters()).keys()
    assert not [name for name, value in found.items() if not value.any()]


def test_neither_side_moves_the_other():
    """The discriminator's gradient is that of its own loss alone, the vocoder's is that of all other terms alone."""
    whole = gradients(attached(adversarial_weight=0.3, feature_weight=0.7))
    objective = attached(adversarial_weight=0.3, feature_weight=0.7)
    real = objective._cut(sounds(), torch.Generator().manual_seed(0))
    codec, discriminator = objective.codec, objective.discriminator
    made = codec.vocode(codec.log_mel(real), real.shape[-1])
    alone = gradients(objective, hinge(discriminator(real), discriminator(made.detach())))
    assert alone.keys() == {name for name in whole if name.startswith("discriminator.")}
    for name, value in alone.items():
        torch.testing.assert_close(whole[name], value, atol=1e-6, rtol=1e-3)
    made = codec.vocode(codec.log_mel(real), real.shape[-1])
    seen, of_real = discriminator(made), discriminator(real)
    mel = (codec.log_mel(made) - codec.log_mel(real)).abs().mean()  # nothing here is as quiet as its floor
    against = -torch.stack([outputs[-1].mean() for outputs in seen]).mean()
    loss = sum(spectral_distance(real, made, SMALL)) + mel + 0.3 * against + 0.7 * feature_distance(of_real, seen)
    for name, value in gradients(objective, loss).items():
        if name.startswith("codec."):
            torch.testing.assert_close(whole[name], value, atol=1e-5, rtol=1e-3)


def test_it_learns_to_vocode():
    """From impulses to these sounds, in a few steps; and by then the codec decodes by what it learned."""
    objective, real = attached(crop=None), sounds()
    codec = objective.codec.fit([real])
    before = spectral_distance(real, codec.vocode(codec.log_mel(real), 4096), SMALL)
    optimiser = torch.optim.AdamW(codec.parameters(), lr=3e-3)
    assert not codec.trained
    for step in range(40):
        optimiser.zero_grad()
        objective(batch_of(real), seeding.generator(0, step))["loss"].backward()
        optimiser.step()
    after = spectral_distance(real, codec.decode(codec.encode(real)), SMALL)
    assert codec.trained and sum(after) < 0.6 * sum(before)


def test_evaluating_does_not_say_that_it_is_trained():
    objective = attached().eval()
    objective(batch_of(sounds()), torch.Generator())
    assert not objective.codec.trained


def test_each_piece_is_cut_at_a_place_of_its_own():
    objective = attached(crop=100)
    ramps = torch.arange(4096.0).expand(8, -1)
    cut = objective._cut(ramps, torch.Generator().manual_seed(0))
    assert cut.shape == (8, 100) and (cut.diff(dim=1) == 1).all() and len(cut[:, 0].unique()) > 4
    assert torch.equal(cut, objective._cut(ramps, torch.Generator().manual_seed(0)))
    assert attached(crop=9000)._cut(ramps, torch.Generator()).shape == (8, 4096)


def test_the_discriminator_learns_to_tell():
    torch.manual_seed(0)
    discriminator, real = SpectrogramDiscriminator(SMALL, channels=4), sounds()
    made = 0.1 * torch.randn(real.shape, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.AdamW(discriminator.parameters(), lr=1e-2)
    first = hinge(discriminator(real), discriminator(made)).item()
    for _ in range(20):
        optimiser.zero_grad()
        loss = hinge(discriminator(real), discriminator(made))
        loss.backward()
        optimiser.step()
    assert loss < 0.3 * first


def test_what_it_cannot_train_is_said():
    with pytest.raises(InputError, match="give the recipe a VocoderCodec"):
        Vocoding().attach(Parts(MelCodec(**FRAMES), nn.Identity(), nn.Identity(), Process()))
    codec = VocoderCodec(**FRAMES, dim=8, intermediate_dim=8, num_layers=1).requires_grad_(False)
    with pytest.raises(InputError, match=r"train to \['codec'\]"):
        Vocoding().attach(Parts(codec, nn.Identity(), nn.Identity(), Process()))
    x_0 = Batch(torch.zeros(1, 1, 40, 65), torch.zeros(1), torch.zeros(1).long(), encoded=True)
    with pytest.raises(InputError, match="vocoding learns from waveforms"):
        attached()(x_0, torch.Generator())


# the recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The debug twin with a discriminator, in float32, and its data."""
    recipe = RECIPES["music-vocoder-debug"]()
    stage = recipe.stages[0]
    stage.precision, stage.objective.adversarial_weight = "no", 0.1
    stage.objective.discriminator_resolutions, stage.objective.discriminator_channels = SMALL, 4
    return recipe, tasks.prepare(recipe, tmp_path_factory.mktemp("data"))


def test_the_recipe_fits_at_both_sizes():
    for recipe in (music_vocoder(), RECIPES["music-vocoder-debug"]()):
        check_fit(recipe)
        assert recipe.to_yaml() == type(recipe).from_dict(recipe.to_dict()).to_yaml()


def test_six_steps_are_three_resumed_for_three_more(made, tmp_path):
    """Of the vocoder, of its discriminator and of the averages, to the bit."""
    recipe, prepared = made

    class StoppedError(Exception):
        pass

    def stop(said):
        if said.step == 3:
            raise StoppedError

    loop.train_recipe(recipe, prepared, tmp_path / "whole")
    with pytest.raises(StoppedError):
        loop.train_recipe(recipe, prepared, tmp_path / "halves", report=stop)
    loop.train_recipe(recipe, prepared, tmp_path / "halves")
    last = "checkpoints/0-vocode/step_0000006"
    for file in ("model.safetensors", "optimiser.safetensors", "ema.safetensors"):
        ours, theirs = (load_file(tmp_path / run / last / file) for run in ("halves", "whole"))
        assert ours.keys() == theirs.keys()
        assert not [name for name, value in ours.items() if not torch.equal(value, theirs[name])], file
    assert any(name.startswith("discriminator.") for name in load_file(tmp_path / "whole" / last / "model.safetensors"))


def test_the_model_it_writes_is_a_vocoder(made, tmp_path):
    recipe, prepared = made
    model = loop.train_recipe(recipe, prepared, tmp_path / "run")
    pipeline = Pipeline.load(str(model))
    assert "Vocos network of its own" in pipeline.codec.vocoder_in_use
    weights = load_file(tmp_path / "run/checkpoints/0-vocode/step_0000006/model.safetensors")
    fresh = VocoderCodec(**{k: v for k, v in recipe.codec.fields.items() if k != "weights"}).state_dict()
    moved = "network.head.out.weight"
    assert not torch.equal(weights[f"codec.{moved}"], fresh[moved])
    waveform = prepared.test.waveform(torch.arange(2))
    assert pipeline.codec.decode(pipeline.codec.encode(waveform)).shape == waveform.shape
    recipe.codec.weights = str(tmp_path / "run")  # another recipe begins with it
    try:
        other = recipe.codec().fit([waveform])
    finally:
        recipe.codec.weights = None
    assert torch.equal(other.network.head.out.weight, pipeline.codec.network.head.out.weight)
