"""A canvas as sound: loops close, what was given is put back, and nothing grows louder where one goes into another."""

from __future__ import annotations

import pytest
import torch

from pipeline.sounding import HOP, noise, small_codec
from synesthete.pipeline.long_form import crossfade, decode_loop, put_back


def periodic(num_samples: int, *cycles: int) -> torch.Tensor:
    """(1, num_samples) of tones that fit whole times."""
    phase = torch.arange(num_samples) / num_samples * 2 * torch.pi
    return sum(0.2 * torch.sin(n * phase + n) for n in cycles)[None]


def test_a_loop_of_complex_frames_is_decoded_exactly():
    """x_0 of a sound that is periodic, cut from the middle of a long one: decoded as a loop it is that sound."""
    length = 50 * HOP
    sound = periodic(length, 13, 40, 111)
    codec = small_codec(kind="complex", num_samples=3 * length)
    x_0 = codec.encode(sound.repeat(1, 3))[..., 50:100]
    torch.testing.assert_close(decode_loop(codec, x_0, length), sound, rtol=0, atol=1e-3)


@pytest.mark.parametrize("num_samples", [50 * HOP - 7, 50 * HOP + 8])
def test_another_length_is_the_same_sound_played_so_much_faster(num_samples):
    length = 50 * HOP
    codec = small_codec(kind="complex", num_samples=3 * length)
    x_0 = codec.encode(periodic(length, 13, 40).repeat(1, 3))[..., 50:100]
    found = decode_loop(codec, x_0, num_samples)
    torch.testing.assert_close(found, periodic(num_samples, 13, 40), rtol=0, atol=5e-3)


def test_a_loop_of_magnitudes_has_no_click():
    length = 60 * HOP
    sound = periodic(length, 17, 45)
    codec = small_codec(num_samples=3 * length, num_iterations=32)
    loop = decode_loop(codec, codec.encode(sound.repeat(1, 3))[..., 60:120], length)
    jump = (loop - loop.roll(1, dims=-1)).abs()[0]
    bend = (loop.roll(-1, dims=-1) - 2 * loop + loop.roll(1, dims=-1)).abs()[0]
    for at_wrap, anywhere in ((jump[0], jump), (bend[[0, -1]].max(), bend)):
        assert at_wrap <= 1.2 * anywhere[5:-5].max()
    energy = loop.square().unflatten(-1, (12, -1)).mean(-1)[0]
    assert energy[[0, -1]].min() > 0.3 * energy.mean()


def test_a_crossfade_is_as_loud_as_its_ends():
    same, other = noise(1, 4_000), noise(1, 4_000, seed=1)
    torch.testing.assert_close(crossfade(same, same), same, rtol=0, atol=1e-6)
    middle = crossfade(same, other).unflatten(-1, (10, -1)).square().mean(-1)
    assert (middle / same.square().mean()).min() > 0.8
    assert (middle / same.square().mean()).max() < 1.25
    assert crossfade(torch.zeros(1, 8), torch.zeros(1, 8)).isfinite().all()


def test_what_is_put_back_is_exact_but_for_its_ends():
    given, made = noise(2, 1_000), noise(2, 1_000, seed=5)
    whole = put_back(given, made, 0, 400, 50)
    assert torch.equal(whole[:, :350], given[:, :350])
    assert torch.equal(whole[:, 400:], made[:, 400:])
    whole = put_back(given, made, 600, 1_000, 50)
    assert torch.equal(whole[:, :600], made[:, :600])
    assert torch.equal(whole[:, 650:], given[:, 650:])
