"""The low band: what is given and nothing above it, whichever way it was made; random in training alone."""

from __future__ import annotations

import pytest
import soxr
import torch

from synesthete.codecs.stft import StftCodec
from synesthete.conditioning.low_band import END, SPREAD_DB, TYPICAL_DB, LowBand
from synesthete.types import Condition, InputError

GRID = {"num_samples": 16_000, "sample_rate": 16_000, "n_fft": 256, "hop_length": 128}
BAND = 2_000  # Hz
NUM_BINS, NUM_FRAMES = 129, 126
GIVEN = 32  # bins below the band's end


def low_band(**settings) -> LowBand:
    return LowBand(**{"low_rate": 2 * BAND} | GRID | settings).eval()


def noise(batch: int = 3, num_samples: int = 16_000) -> torch.Tensor:
    return 0.1 * torch.randn(batch, num_samples, generator=torch.Generator().manual_seed(0))


def sine(hertz: float, amplitude: float = 1.0) -> torch.Tensor:
    time = torch.arange(16_000).double() / 16_000  # float32 would turn at 6 kHz by thousandths
    return amplitude * torch.sin(2 * torch.pi * hertz * time)[None].float()


def test_it_lies_on_the_codecs_grid():
    for settings in ({}, {"num_bins": 120, "num_frames": 112}, {"multiple": 16}):
        conditioner, codec = low_band(**settings), StftCodec(**GRID, **settings)
        told = conditioner.encode(noise()).spatial
        assert tuple(told.shape) == (3, *conditioner.spatial_shape)
        assert conditioner.spatial_shape[1:] == codec.shape[1:]
        assert conditioner.spatial_channels == 2
        assert conditioner.null(3).spatial.shape == told.shape


def test_what_is_given_is_what_the_codec_sees_there():
    sounds, codec = noise(), StftCodec(**GRID)
    told = low_band().encode(sounds).spatial[:, 0]
    level = codec.decibels(codec.encode(sounds))
    whole = int(0.85 * GIVEN)
    torch.testing.assert_close(told[:, :whole] * SPREAD_DB + TYPICAL_DB, level[:, :whole], rtol=0, atol=1e-3)


def test_nothing_above_the_band_is_told():
    """Two sounds that differ in their highs alone say the same."""
    one, other = sine(500, 0.5), sine(500, 0.5) + sine(6_000, 0.5)
    conditioner = low_band()
    assert (conditioner.encode(other).spatial[:, 0, GIVEN:] == conditioner.silence).all()
    difference = conditioner.encode(one).spatial - conditioner.encode(other).spatial
    # A window's side lobes, and the sine's own beginning and end, reach down from there.
    assert difference[..., 2:-2].abs().max() < 0.1


def test_a_low_rate_recording_says_the_same_as_the_sound_it_was_made_from():
    sounds = noise()
    low = [soxr.resample(row, 16_000, 2 * BAND) for row in sounds.numpy()]
    again = torch.stack([torch.from_numpy(soxr.resample(row, 2 * BAND, 16_000)) for row in low])
    one, other = (low_band().encode(x).spatial[:, 0] for x in (sounds, again))
    assert (one - other).abs().mean() < 0.01
    assert (one[:, : int(END * GIVEN)] - other[:, : int(END * GIVEN)]).abs().mean() < 0.05


def test_a_full_scale_sine_is_at_zero_decibels_and_silence_is_a_constant():
    conditioner = low_band()
    loudest = conditioner.encode(sine(500)).spatial[0, 0].max()
    assert loudest.item() * SPREAD_DB + TYPICAL_DB == pytest.approx(0, abs=0.1)
    for settings in ({}, {"kind": "complex"}, {"size": (8, 12)}):
        conditioner = low_band(**settings)
        silent, null = conditioner.encode(torch.zeros(2, 16_000)), conditioner.null(2)
        assert torch.equal(silent.spatial, null.spatial)
        assert (null.spatial[:, :-1] == conditioner.silence).all()


def test_the_last_channel_tells_where_a_bin_is():
    place = low_band().null(1).spatial[0, 1, :, 0]
    assert (place[:GIVEN] == 1).all()
    assert place[GIVEN] == 0 and place[-1] == -1
    assert (place[GIVEN:].diff() < 0).all()


def test_in_evaluation_it_is_the_same_each_time_and_a_batch_equals_its_singles():
    conditioner, sounds = low_band(), noise()
    told = conditioner.encode(sounds).spatial
    assert torch.equal(told, conditioner.encode(sounds).spatial)
    for i in range(3):
        torch.testing.assert_close(conditioner.encode(sounds[i : i + 1]).spatial[0], told[i], rtol=0, atol=1e-5)


def test_in_training_the_band_ends_elsewhere_each_time_and_repeats_by_the_seed():
    conditioner, sounds = low_band(noise=0.0).train(), noise(8)
    ends = []
    for seed in (0, 0, 1):
        told = conditioner.encode(sounds, torch.Generator().manual_seed(seed)).spatial[:, 0]
        assert (told[:, GIVEN:] == conditioner.silence).all()
        # The highest bin that is still about as loud as the lowest ones.
        ends.append((told.mean(dim=2) > told[:, :16].mean(dim=(1, 2), keepdim=True)[..., 0] - 0.3).sum(dim=1))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
    assert len(ends[0].unique()) > 2
    assert ends[0].min() >= 0.55 * GIVEN and ends[0].max() <= GIVEN


def test_in_training_the_band_is_noisy_and_nothing_else():
    conditioner, sounds = low_band(noise=0.5, variation=0.0).train(), noise()
    noisy = conditioner.encode(sounds, torch.Generator().manual_seed(0)).spatial
    change = (noisy - conditioner.eval().encode(sounds).spatial).abs()
    assert change[:, 0, : int(0.8 * GIVEN)].mean(dim=(1, 2)).min() > 1e-3
    assert change[:, 0, :GIVEN].max() < 0.5 * 6
    assert not change[:, 0, GIVEN:].any() and not change[:, 1].any()


def test_nothing_is_drawn_but_from_the_generator_that_it_is_given():
    conditioner, sounds = low_band(noise=0.5).train(), noise()
    state = torch.get_rng_state()
    plain = conditioner.encode(sounds).spatial
    conditioner.encode(sounds, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(plain, conditioner.eval().encode(sounds, torch.Generator()).spatial)


def test_a_complex_one_keeps_the_phase():
    conditioner = low_band(kind="complex")
    one, other = conditioner.encode(sine(500)).spatial, conditioner.encode(-sine(500)).spatial
    assert conditioner.spatial_channels == one.shape[1] == 3
    torch.testing.assert_close(one[:, :2], -other[:, :2], rtol=0, atol=1e-4)
    assert one[:, :2].abs().max() > 1


def test_it_is_averaged_to_the_grid_of_latents():
    whole, small = low_band(multiple=16).encode(noise()), low_band(multiple=16, size=(9, 8)).encode(noise())
    assert tuple(small.spatial.shape) == (3, 2, 9, 8)
    expected = torch.nn.functional.avg_pool2d(whole.spatial, 16)
    torch.testing.assert_close(small.spatial, expected, rtol=0, atol=1e-4)


def test_conditions_are_mixed_per_sample():
    conditioner = low_band()
    told, null = conditioner.encode(noise()), conditioner.null(3)
    mixed = Condition.where(torch.tensor([True, False, True]), told, null)
    assert torch.equal(mixed.spatial[0], told.spatial[0])
    assert torch.equal(mixed.spatial[1], null.spatial[1])


def test_shorter_sounds_are_padded_with_silence():
    conditioner = low_band()
    told = conditioner.encode(noise(num_samples=8_000)).spatial
    assert told.shape[-1] == NUM_FRAMES
    assert (told[:, 0, :, 65:] == conditioner.silence).all()


def test_saved_and_loaded_it_says_the_same(tmp_path):
    conditioner = low_band(num_bins=120)
    conditioner.save_pretrained(tmp_path)
    again = LowBand.from_pretrained(tmp_path).eval()
    assert torch.equal(again.encode(noise()).spatial, conditioner.encode(noise()).spatial)
    assert torch.equal(again.null(2).spatial, conditioner.null(2).spatial)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (torch.zeros(2, 16_001), "waveform of 16001 samples: this conditioner holds 16000; cut it"),
        (torch.full((1, 16_000), torch.nan), "NaN or infinite samples"),
        (torch.zeros(16_000), r"sound of \(16000,\) torch.float32; give waveforms"),
        (torch.zeros(1, 16_000, dtype=torch.int16), "torch.int16; give waveforms"),
    ],
)
def test_what_it_cannot_read_is_one_line(raw, message):
    with pytest.raises(InputError, match=message) as caught:
        low_band().encode(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low_rate": 16_000}, "conditioner.low_rate 16000: give one under sample_rate 16000, and at least 500"),
        ({"low_rate": 400}, "at least 500, of which a window of 256 shows four bins"),
        ({"variation": 1.0}, "give 0 <= variation < 1"),
        ({"noise": -0.1}, "noise >= 0"),
        ({"hop_length": 0}, "give at least 1"),
    ],
)
def test_settings_out_of_range_are_one_line(settings, message):
    with pytest.raises(InputError, match=message):
        low_band(**settings)
