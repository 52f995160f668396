"""Upsampling sound of any length: what was given comes back, windows leave no seam, and a batch equals its singles."""

from __future__ import annotations

import itertools

import pytest
import torch

from synesthete import seeding
from synesthete.codecs.stft import StftCodec
from synesthete.conditioning.labels import Unconditional
from synesthete.conditioning.low_band import SPREAD_DB, TYPICAL_DB, LowBand
from synesthete.config import register_class
from synesthete.denoisers.denoiser import Denoiser
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import scheduler_for
from synesthete.pipeline import Pipeline
from synesthete.pipeline.canvas import Frames, resample
from synesthete.pipeline.cascade import fade_weights, join_bands, make_frames, upsample, window_starts
from synesthete.types import InputError

RATE, LOW_RATE = 8_000, 2_000
GRID = {"num_samples": 4_000, "sample_rate": RATE, "n_fft": 128, "hop_length": 32, "num_bins": 64, "num_frames": 128}
SAMPLING = {"sampler": "flow-euler", "num_inference_steps": 1, "guidance_scale": 1.0}


@register_class
class Saying(Denoiser):
    """A network whose x_0 is what `say` makes of x_t and the spatial condition."""

    def __init__(self, say=None) -> None:
        super().__init__()
        self.say = say
        self.register_buffer("nothing", torch.zeros(1))

    def precompute(self, condition):
        return condition

    def forward(self, x_t, timestep, condition):
        return self.say(x_t, condition.spatial)


def saying(say, conditioner=None) -> Pipeline:
    codec = StftCodec(num_iterations=8, **GRID)
    conditioner, process = conditioner or LowBand(low_rate=LOW_RATE, **GRID), Process()
    settings = {"sampler": "flow-euler", "timestep_shift": 1.0, "timestep_spacing": "trailing", "solver_order": None}
    scheduler = scheduler_for({**settings, "eta": 0.0, "num_inference_steps": 1}, process)
    return Pipeline(codec, conditioner.eval(), Saying(say), scheduler, process=process.settings(), sampling=SAMPLING)


def the_condition(x_t, spatial):
    """The low band in the codec's own unit, which is that of the condition as long as nothing was measured."""
    assert (TYPICAL_DB, SPREAD_DB) == (-40.0, 20.0)
    return spatial[:, :1]


def loud_highs(x_t, spatial):
    above = (spatial[:, 1:] < 0.5).float()
    return spatial[:, :1] * (1 - above) + 0.5 * above


def melody(batch: int, num_samples: int, rate: int = LOW_RATE) -> torch.Tensor:
    time = torch.arange(num_samples) / rate
    hertz = torch.linspace(150, 400, batch)[:, None]
    return 0.3 * torch.sin(2 * torch.pi * hertz * time) * (0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * time))


@pytest.mark.parametrize("num_samples", [300, 1_000, 1_001, 4_321])
def test_it_is_as_long_as_what_was_given(num_samples):
    pipeline = saying(loud_highs)
    assert upsample(pipeline, melody(1, num_samples)[0], LOW_RATE).shape == (4 * num_samples,)
    assert upsample(pipeline, melody(2, num_samples), LOW_RATE).shape == (2, 4 * num_samples)


def test_what_was_given_comes_back_and_the_highs_are_the_models():
    sounds = melody(1, 3_000)
    made = upsample(saying(loud_highs), sounds, LOW_RATE)
    given = resample(sounds, LOW_RATE, RATE)
    spectrum, before = torch.fft.rfft(made), torch.fft.rfft(given)
    frequency = torch.fft.rfftfreq(made.shape[-1], 1 / RATE)
    kept = frequency < 0.84 * LOW_RATE / 2
    torch.testing.assert_close(spectrum[:, kept], before[:, kept], rtol=0, atol=1e-2)
    above = frequency > LOW_RATE / 2
    assert spectrum[:, above].abs().square().sum() > 1e3 * before[:, above].abs().square().sum()


def test_windows_of_a_long_sound_add_up_to_what_one_window_would_say():
    """No seam: the frames of what is told in windows are those of the whole sound."""
    given = resample(melody(2, 5_000), LOW_RATE, RATE)
    x_0 = make_frames(saying(the_condition), given, seeding.sample_generators(0, 2))
    whole = LowBand(low_rate=LOW_RATE, **GRID | {"num_samples": given.shape[-1], "num_frames": None}).eval()
    expected = whole.encode(given).spatial[:, :1]
    assert x_0.shape == expected.shape
    torch.testing.assert_close(x_0, expected, rtol=0, atol=0.02)


def test_neighbouring_windows_share_their_noise():
    given = torch.zeros(1, 12_000)
    pipeline = saying(lambda x_t, spatial: x_t)
    x_0 = make_frames(pipeline, given, seeding.sample_generators(3, 1))
    again = seeding.randn((1, 64, 800), seeding.sample_generators(3, 1))
    assert Frames.of(pipeline.codec).whole < x_0.shape[-1]
    assert x_0.std().item() == pytest.approx(1, abs=0.02)  # the mean of two noises would be fainter
    assert not torch.equal(x_0[..., :64], again[..., 64:128])


def test_a_batch_equals_its_singles_whatever_the_size_of_batches():
    pipeline = saying(lambda x_t, spatial: 0.1 * x_t + spatial[:, :1])
    sounds, generators = melody(3, 2_500), seeding.sample_generators(0, 3)
    together = upsample(pipeline, sounds, LOW_RATE, generators=generators, batch_size=2)
    for i in range(3):
        alone = upsample(pipeline, sounds[i], LOW_RATE, generators=seeding.sample_generators(0, 1, first=i))
        torch.testing.assert_close(alone, together[i], rtol=0, atol=1e-4)


def test_a_rate_between_keeps_all_that_it_has():
    sounds = melody(1, 6_000, 4_000) + 0.2 * torch.sin(2 * torch.pi * 1_500 * torch.arange(6_000) / 4_000)
    made = upsample(saying(loud_highs), sounds, 4_000)
    given = resample(sounds, 4_000, RATE)
    frequency = torch.fft.rfftfreq(made.shape[-1], 1 / RATE)
    kept = frequency < 0.84 * 2_000
    torch.testing.assert_close(torch.fft.rfft(made)[:, kept], torch.fft.rfft(given)[:, kept], rtol=0, atol=1e-2)


def test_progress_counts_windows():
    counted = []
    upsample(saying(the_condition), melody(2, 3_000), LOW_RATE, batch_size=4, progress=lambda *c: counted.append(c))
    assert counted[-1][0] == counted[-1][1] > 4
    assert [done for done, _ in counted] == sorted({done for done, _ in counted})


@pytest.mark.parametrize(("total", "room", "overlap"), [(50, 50, 10), (51, 50, 10), (90, 50, 10), (1_000, 126, 32)])
def test_windows_cover_every_frame_and_overlap_enough(total, room, overlap):
    starts = window_starts(total, room, overlap)
    assert starts[0] == 0 and starts[-1] + room == max(total, room)
    assert all(0 < b - a <= room - overlap for a, b in itertools.pairwise(starts))
    weight = fade_weights(room, overlap, 2)
    assert weight.min() > 0 and weight.max() == 1
    assert (weight[:2] < 1e-3).all() and (weight[-2:] < 1e-3).all()


def test_bands_are_joined_without_a_gap():
    sound = torch.randn(2, 4_001, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(join_bands(sound, sound, RATE, 1_000), sound, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (torch.zeros(0), LOW_RATE, "a sound of 0 samples to upsample"),
        (torch.full((100,), torch.inf), LOW_RATE, "NaN or infinite samples to upsample"),
        (torch.zeros(100), RATE, "a sound at 8000 Hz: it has these highs already; this model makes 8000 Hz of 2000 Hz"),
        (torch.zeros(100), 1_000, "a sound at 1000 Hz: too little is left of it"),
    ],
)
def test_what_cannot_be_upsampled_is_one_line(sound, rate, message):
    with pytest.raises(InputError, match=message) as caught:
        upsample(saying(the_condition), sound, rate)
    assert "\n" not in str(caught.value)


def test_another_model_is_no_upsampler():
    pipeline = saying(the_condition, Unconditional())
    with pytest.raises(InputError, match="this model reads Unconditional, not a low-rate sound; give an upsampler"):
        upsample(pipeline, torch.zeros(100), LOW_RATE)
