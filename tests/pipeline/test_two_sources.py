"""A pipeline that is told a text and a sound: two scales of guidance, a strength of the sound, a negative prompt."""

from __future__ import annotations

import pytest
import torch

from synesthete import seeding
from synesthete.codecs.pixels import PixelCodec
from synesthete.conditioning.audio_text import AudioTextConditioner, SoundAndText
from synesthete.conditioning.labels import Labels
from synesthete.conditioning.learned_encoders import SoundEncoder, TextTransformer
from synesthete.config import Sampling
from synesthete.denoisers.stable_diffusion import StableDiffusion
from synesthete.denoisers.unet import UNet
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import scheduler_for
from synesthete.objectives import Denoising, Parts
from synesthete.pipeline import Pipeline
from synesthete.types import Batch, InputError

RATE, WIDTH = 4000, 16
SETTINGS = {"sampler": "ddim", "num_inference_steps": 3, "guidance_scale": 4.0}
NETWORK = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
}


def assembled(conditioner, denoiser) -> Pipeline:
    process = Process(schedule="cosine", prediction_type="v_prediction", zero_terminal_snr=True)
    sampling = vars(Sampling(**SETTINGS))
    codec = PixelCodec(size=8)
    for part in (conditioner, denoiser):
        part.eval()
    scheduler = scheduler_for(sampling, process)
    return Pipeline(codec, conditioner, denoiser, scheduler, process.settings(), sampling)


@pytest.fixture
def pipeline() -> Pipeline:
    """Untrained, but both ways in which a sound is heard are open."""
    torch.manual_seed(0)
    sound = SoundEncoder(RATE, RATE // 2, 256, 80, 16, channels=(8, 12), width=20)
    text = TextTransformer(("a red picture", "a blue picture"), width=WIDTH, num_tokens=6, num_heads=2)
    conditioner = AudioTextConditioner(sound, text, width=WIDTH, hidden=24)
    denoiser = StableDiffusion(None, NETWORK, (8, 8), 3, condition_width=WIDTH, lora_rank=2)
    for group, std in (("lora", 0.05), ("gates", 0.3)):
        for parameter in denoiser.groups()[group]:
            parameter.data.normal_(std=std)
    return assembled(conditioner, denoiser)


@pytest.fixture
def raw(pipeline) -> SoundAndText:
    noise = torch.randn(4, RATE // 2, generator=torch.Generator().manual_seed(0))
    tones = torch.sin(torch.arange(RATE // 2) * torch.tensor([[0.1], [0.4], [0.9], [1.6]]))
    return pipeline.conditioner.compose(list(0.1 * noise + 0.4 * tones), ["a red picture"])


def test_two_scales_are_the_formula_in_every_step(pipeline, raw):
    seen = []

    def around(denoise):
        def looked_at(x_t, timestep):
            seen.append((x_t, timestep, denoise(x_t, timestep)))
            return seen[-1][-1]

        return looked_at

    list(pipeline.trajectory(raw, around=around, guidance_scale=5.0, audio_guidance_scale=2.0))
    branches = pipeline.branches(raw)
    assert len(seen) == 3
    with torch.no_grad():
        for x_t, timestep, found in seen:
            none, text, both = (pipeline._denoise(x_t, timestep, branch, pipeline.denoiser) for branch in branches)
            expected = none + 5 * (text - none) + 2 * (both - text)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
            assert (text - none).abs().mean() > 1e-3 and (both - text).abs().mean() > 1e-3


def test_no_audio_scale_is_one_scale_for_both(pipeline, raw):
    once = pipeline(raw).x_0
    assert torch.equal(pipeline(raw, audio_guidance_scale=4.0).x_0, once)
    assert (pipeline(raw, audio_guidance_scale=8.0).x_0 - once).abs().mean() > 1e-3


def test_a_batch_of_four_equals_four_singles(pipeline, raw):
    settings = {"guidance_scale": 5.0, "audio_guidance_scale": 2.0, "negative": "a blue picture"}
    batch = pipeline(raw, generators=seeding.sample_generators(3, 4), **settings).x_0
    for i in range(4):
        single = pipeline(raw[i : i + 1], generators=seeding.sample_generators(3, 1, first=i), **settings).x_0
        torch.testing.assert_close(single[0], batch[i], rtol=0, atol=1e-3)
    assert (batch[0] - batch[1]).abs().mean() > 1e-3


def test_a_sound_scale_of_0_or_a_strength_of_0_is_the_text_alone(pipeline, raw):
    wordy = SoundAndText(text=raw.text)
    expected = pipeline(wordy, guidance_scale=5.0).x_0
    torch.testing.assert_close(pipeline(raw, guidance_scale=5.0, audio_guidance_scale=0.0).x_0, expected)
    deaf = pipeline(wordy, guidance_scale=5.0, adapter_scale=0.0).x_0  # LoRA is weaker, too
    for audio in (None, 3.0):
        found = pipeline(raw, guidance_scale=5.0, audio_guidance_scale=audio, adapter_scale=0.0).x_0
        torch.testing.assert_close(found, deaf, rtol=1e-4, atol=1e-4)
    assert (pipeline(raw, adapter_scale=2.0).x_0 - pipeline(raw).x_0).abs().mean() > 1e-3


def test_the_strength_is_put_back(pipeline, raw):
    assert pipeline.denoiser.adapter_scale == 1.0
    steps = pipeline.trajectory(raw, adapter_scale=0.5)
    next(steps)
    assert pipeline.denoiser.adapter_scale == 1.0  # while the caller looks
    assert len(list(steps)) >= 2 and pipeline.denoiser.adapter_scale == 1.0

    def failing(denoise):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        list(pipeline.trajectory(raw, around=lambda _: lambda *_: failing(None), adapter_scale=0.5))
    assert pipeline.denoiser.adapter_scale == 1.0


def test_a_negative_prompt_leads_away(pipeline, raw):
    plain, away = pipeline(raw).x_0, pipeline(raw, negative="a blue picture").x_0
    assert (plain - away).abs().mean() > 1e-3
    assert torch.equal(pipeline(raw, negative="").x_0, plain)
    assert torch.equal(pipeline(raw, negative=["a blue picture"] * 4).x_0, away)


def test_saved_and_loaded_it_makes_the_same(pipeline, raw, tmp_path):
    pipeline.config.sampling["audio_guidance_scale"] = 2.0
    expected = pipeline(raw).x_0
    pipeline.save(tmp_path / "model")
    again = Pipeline.load(str(tmp_path / "model"))
    assert again.sampling_settings()["audio_guidance_scale"] == 2.0
    torch.testing.assert_close(again(raw).x_0, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"audio_guidance_scale": 3.0}, "audio_guidance_scale 3.0: this model hears no sound beside a text; leave"),
        ({"adapter_scale": 0.5}, "adapter_scale 0.5: this model hears no sound that could be made weaker"),
        ({"negative": "blue"}, "reads no prompts of one's own: leave the negative prompt out"),
        ({"adapter_scale": 3.0}, "adapter_scale"),
    ],
)
def test_a_model_without_sound_refuses_what_is_of_sounds(asked, named):
    unet = UNet((8, 8), 3, channels=(8,), attention_levels=(0,), condition_width=WIDTH, pooled_width=WIDTH)
    model = assembled(Labels(3, WIDTH), unet)
    labels = torch.arange(3)
    with pytest.raises(InputError, match=named) as caught:
        model(labels, **asked)
    assert "\n" not in str(caught.value)
    assert model(labels, adapter_scale=1.0).x_0.shape == (3, 3, 8, 8)


def test_a_strength_out_of_range_is_one_line(pipeline, raw):
    with pytest.raises(InputError, match="adapter_scale"):
        pipeline(raw, adapter_scale=2.5)


def test_training_drops_text_and_sound_each_by_itself(pipeline, raw):
    """A quarter of samples told nothing, a quarter each of the sources alone; all parts of the model learn of it."""
    parts = Parts(pipeline.codec, pipeline.conditioner, pipeline.denoiser, pipeline.process)
    objective = Denoising(condition_dropout=0.5).attach(parts)
    told = []
    true = pipeline.conditioner.drop

    def drop(*arguments):
        told.append(true(*arguments))
        return told[-1]

    pipeline.conditioner.drop = drop
    signal = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = Batch(signal, raw, torch.zeros(4, dtype=torch.int64))
    batch = Batch(*(x[torch.arange(4).repeat(50)] for x in (batch.signal, batch.raw, batch.label)))
    found = objective(batch, torch.Generator().manual_seed(0))
    found["loss"].backward()
    mask = told[0].mask
    shares = [
        (mask[:, 1] == text).logical_and(mask[:, -1] == sound).float().mean() for text in (0, 1) for sound in (0, 1)
    ]
    assert min(shares) > 0.15 and sum(shares) == pytest.approx(1)
    for name, group in {**pipeline.conditioner.groups(), **pipeline.denoiser.groups()}.items():
        missing = [p for p in group if p.grad is None or not p.grad.any()]
        assert not missing, (name, [p.shape for p in missing])
