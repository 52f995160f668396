"""Values that a model puts out: whether they have left those of the data, and what decoding cuts of them."""

from __future__ import annotations

import pytest
import torch

from synesthete.codecs.codec import Codec
from synesthete.codecs.mel import MelCodec
from synesthete.codecs.pixels import PixelCodec
from synesthete.objectives.ranges import DataRange, data_range, value_range

DATA = DataRange(-4.0, 4.0, 0.0)


class Loudness(Codec):
    """A codec of sound without a spectrogram: x_0 is the waveform."""

    def decode(self, x_0, generators=None):
        return x_0.flatten(1).clamp(-1, 1)


@pytest.fixture
def codec():
    return PixelCodec(size=4, channels=1)


def test_values_within_those_of_the_data_are_ok(codec):
    found = value_range(codec, torch.linspace(-4, 4, 160).view(10, 1, 4, 4), DATA)
    assert (found.verdict, found.outside, found.not_finite) == ("ok", 0.0, 0.0)
    assert (found.low, found.high) == (-4.0, 4.0)


def test_what_jitters_about_the_ends_is_no_overflow(codec):
    """A black cell comes out a little over or under black; a twentieth of the span is let pass."""
    assert value_range(codec, torch.full((1, 1, 4, 4), 4.3), DATA).outside == 0.0
    assert value_range(codec, torch.full((1, 1, 4, 4), 4.5), DATA).outside == 1.0


@pytest.mark.parametrize(
    ("num_outside", "value", "verdict"), [(0, 0.0, "ok"), (4, 5.0, "warn"), (40, 5.0, "bad"), (1, 1100.0, "bad")]
)
def test_verdicts(codec, num_outside, value, verdict):
    x_0 = torch.zeros(100)
    x_0[:num_outside] = value
    found = value_range(codec, x_0.view(1, 1, 10, 10), DATA)
    assert found.verdict == verdict
    assert found.outside == pytest.approx(num_outside / 100)


def test_the_wall_of_the_music_seed_is_said_in_plain_words(codec):
    x_0 = torch.tensor([-1100.0, 0.0, 0.0, 1100.0]).view(1, 1, 2, 2)
    said = str(value_range(codec, x_0, DATA))
    assert said == "outputs reach -1.1e+03 to +1.1e+03, data -4 to +4; 50.0% of cells outside"


def test_cells_that_are_not_finite_are_bad_and_the_others_still_measured(codec):
    x_0 = torch.tensor([float("nan"), float("inf"), 1.0, 2.0]).view(1, 1, 2, 2)
    found = value_range(codec, x_0, DATA)
    assert (found.verdict, found.not_finite, found.high) == ("bad", 0.5, 2.0)
    assert str(found) == "50.0% of the sampled cells are not finite"
    nothing = value_range(codec, torch.full((1, 1, 2, 2), float("nan")), DATA)
    assert nothing.verdict == "bad"
    assert "output_low" not in nothing.figures()
    assert nothing.figures()["share_not_finite"] == 1.0


def test_pixels_cut_by_decoding_are_those_cut_visibly(codec):
    x_0 = torch.zeros(1, 1, 4, 4)
    x_0[0, 0, 0] = torch.tensor([1.5, 1.02, -1.02, -1.5])  # 1.25, 1.01, -0.01 and -0.25 of white
    assert codec.share_cut(x_0) == 2 / 16
    assert value_range(codec, x_0, DATA, codec.decode(x_0)).clipped == 2 / 16


def test_sound_is_clipped_at_full_scale_and_held_against_that_of_data():
    loud, quiet = torch.full((1, 1, 1, 100), 2.0), torch.full((1, 1, 1, 100), 0.5)
    codec = Loudness()
    data = data_range(codec, quiet)
    assert data.clipped == 0.0
    found = value_range(codec, loud, DataRange(-4, 4, data.clipped), codec.decode(loud))
    assert (found.clipped, found.verdict) == (1.0, "warn")
    as_loud = value_range(codec, loud, DataRange(-4, 4, 1.0), codec.decode(loud))
    assert as_loud.verdict == "ok"
    assert value_range(codec, loud, DataRange(-4, 4, None), codec.decode(loud)).verdict == "ok"


def test_data_of_a_real_codec_are_within_themselves():
    codec = MelCodec(num_samples=2560, vocoder="griffin-lim", num_iterations=1)
    x_0 = codec.encode(torch.randn(4, 2560, generator=torch.Generator().manual_seed(0)) * 0.1)
    found = value_range(codec, x_0, data_range(codec, x_0), codec.decode(x_0))
    assert found.verdict == "ok"
    assert set(found.figures()) == {
        *("output_low", "output_high", "data_low", "data_high", "share_outside", "share_clipped"),
        *("data_share_clipped", "share_not_finite"),
    }
