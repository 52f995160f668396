"""Two models, one after the other: saved, loaded, of any length."""

from __future__ import annotations

import pytest
import torch

from pipeline.sounding import noise, nothing, random_pipeline, random_upsampler, small_codec
from synesthete import seeding
from synesthete.pipeline import Canvas, Cascade, Pipeline
from synesthete.types import InputError

LOW_RATE = 1_000


def base() -> Pipeline:
    """At 1 kHz, of 0.156 s as the upsampler's windows."""
    return random_pipeline(codec=small_codec(sample_rate=LOW_RATE, num_samples=156, n_fft=16, hop_length=4))


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade(base(), random_upsampler())


def test_it_makes_sound_at_the_higher_rate_of_the_lower_ones_length(cascade):
    output = cascade(nothing(2))
    assert cascade.sample_rate == 4_000
    assert output.signal.shape == (2, 4 * 156)
    assert output.x_0.shape[:3] == (2, *cascade.upsampler.codec.shape[:2])
    assert output.signal.isfinite().all()


def test_saved_and_loaded_it_makes_the_same(cascade, tmp_path):
    cascade.save(tmp_path / "both")
    again = Cascade.load(str(tmp_path / "both"))
    generators = [seeding.sample_generators(3, 2) for _ in range(2)]
    one, other = (c(nothing(2), generators=g) for c, g in zip((cascade, again), generators, strict=True))
    torch.testing.assert_close(one.signal, other.signal, rtol=0, atol=1e-3 * float(one.signal.abs().max()))
    assert Pipeline.load(str(tmp_path / "both" / "base")).codec.spec.sample_rate == LOW_RATE


def test_a_batch_equals_its_singles(cascade):
    batch = cascade(nothing(2), generators=seeding.sample_generators(3, 2)).signal
    for i in range(2):
        single = cascade(nothing(1), generators=seeding.sample_generators(3, 1, first=i)).signal
        torch.testing.assert_close(single[0], batch[i], rtol=0, atol=1e-3 * float(batch.abs().max()))


def test_long_sound_and_loops(cascade):
    codec = cascade.base.codec
    assert cascade(nothing(1), canvas=Canvas.unconditional(codec, 1, 700)).signal.shape == (1, 2_800)
    loop = cascade(nothing(4), canvas=Canvas.unconditional(codec, 4, 400, is_loop=True)).signal
    assert loop.shape == (4, 1_600)
    step = (loop - loop.roll(1, dims=-1)).abs()
    beside = torch.cat([step[:, 1:20], step[:, -20:]], dim=-1)
    assert (step[:, 0] < 1.5 * beside.amax(dim=-1)).all()  # from the last sample to the first


def test_the_given_low_band_comes_back(cascade):
    """What is below the low rate's own end is the base's, to the sample but for the crossing."""
    clip = noise(1, 400)
    smooth = torch.fft.rfft(clip)
    smooth[:, len(smooth[0]) // 2 :] = 0
    clip = torch.fft.irfft(smooth, n=400)
    canvas = Canvas.continuation(cascade.base.codec, clip, 800)
    signal = cascade(nothing(1), canvas=canvas).signal
    low = torch.fft.irfft(torch.fft.rfft(signal)[:, : 1 + 800 // 2] / 4, n=800)
    torch.testing.assert_close(low[:, 40:320], clip[:, 40:320], rtol=0, atol=0.02)


def test_what_is_no_cascade_is_one_line(cascade, tmp_path):
    cascade.save(tmp_path / "both")
    with pytest.raises(InputError, match="two models, one after the other; give one of them"):
        Pipeline.load(str(tmp_path / "both"))
    with pytest.raises(InputError, match="one model, not a cascade"):
        Cascade.load(str(tmp_path / "both" / "base"))
    with pytest.raises(InputError, match="not a low-rate sound"):
        Cascade(cascade.base, cascade.base)
    with pytest.raises(InputError, match="nothing to add"):
        Cascade(random_pipeline(), cascade.upsampler)
