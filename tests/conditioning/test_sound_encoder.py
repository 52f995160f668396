"""A small encoder of sound: one vector a clip, whatever its loudness, place and company."""

from __future__ import annotations

import pytest
import torch

from synesthete.conditioning.learned_encoders import SoundEncoder
from synesthete.types import InputError

RATE = 8000
FIELDS = {
    "sample_rate": RATE,
    "num_samples": RATE,
    "n_fft": 256,
    "hop_length": 80,
    "n_mels": 32,
    "channels": (8, 12, 16, 24),
    "width": 20,
}


def make(**fields) -> SoundEncoder:
    torch.manual_seed(0)
    return SoundEncoder(**FIELDS | fields).eval()


def tones(*hertz: float, seconds: float = 0.5) -> torch.Tensor:
    time = torch.arange(round(seconds * RATE)) / RATE
    return torch.stack([0.5 * torch.sin(2 * torch.pi * f * (1 + time) * time) * (1 - time) for f in hertz])


def test_a_sound_is_one_vector_of_length_1():
    found = make().embed(tones(200, 500, 900))
    assert found.shape == (3, 20)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert torch.pdist(found).min() > 1e-3


def test_a_batch_equals_its_singles_in_training_too():
    encoder, sounds = make(num_masks=0), tones(200, 500, 900, 40)
    for mode in (False, True):
        together = encoder.train(mode).embed(sounds)
        alone = torch.cat([encoder.embed(sounds[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-6)


def test_loudness_makes_no_difference_until_there_is_silence():
    encoder, sounds = make(), tones(200, 900)
    torch.testing.assert_close(encoder.embed(0.05 * sounds), encoder.embed(sounds), rtol=1e-3, atol=1e-4)
    silence, near = torch.zeros(1, RATE), 1e-6 * sounds[:1]
    assert encoder.embed(silence).isfinite().all()
    assert (encoder.log_mel(silence) == -1).all()
    assert encoder.log_mel(near).max() < -0.5  # what nobody hears is not made a sound
    assert encoder.log_mel(sounds).amax(dim=(1, 2)).tolist() == [1.0, 1.0]


def test_clips_are_padded_with_silence_and_cut():
    encoder, sounds = make(), tones(200, 500)
    padded = torch.nn.functional.pad(sounds, (0, RATE - sounds.shape[1]))
    assert torch.equal(encoder.embed(padded), encoder.embed(sounds))
    longer = torch.nn.functional.pad(padded, (0, 5000), value=0.3)
    assert torch.equal(encoder.embed(longer), encoder.embed(padded))


def test_where_a_sound_stands_matters_less_than_what_it_is():
    """Before it has learned anything."""
    encoder, sound = make(), tones(300, seconds=0.4)
    late = torch.nn.functional.pad(sound, (8 * 80, 0))  # by a whole number of its last columns
    other = encoder.embed(tones(900, seconds=0.4))
    here, there = encoder.embed(sound), encoder.embed(late)
    assert (here - there).norm() < 0.75 * (here - other).norm()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_some_bands_and_times_are_hidden_in_training_alone():
    encoder, sounds = make(), tones(200).expand(64, -1)
    whole = encoder.log_mel(sounds)
    state = torch.get_rng_state()
    masked = encoder._masked(whole, generator())
    assert torch.equal(masked[masked != whole], torch.full_like(masked[masked != whole], -1))
    noise = torch.rand(64, 32, 100, generator=generator())  # no cell of it is silent, so the stripes can be counted
    hidden = encoder._masked(noise, generator()) == -1
    rows, columns = hidden.all(dim=2).sum(dim=1), hidden.all(dim=1).sum(dim=1)
    assert rows.max() <= 8 and columns.max() <= 26
    assert 0 < rows.float().mean() < 5 and 0 < columns.float().mean() < 14
    assert len(hidden.flatten(1).sum(dim=1).unique()) > 30  # each clip has its own
    assert torch.equal(encoder.embed(sounds, generator()), encoder.embed(sounds))
    encoder.train()
    assert not torch.equal(encoder.embed(sounds, generator()), encoder.embed(sounds))
    assert torch.equal(encoder.embed(sounds, generator()), encoder.embed(sounds, generator()))
    assert torch.equal(torch.get_rng_state(), state)  # all draws are the generator's


def test_every_parameter_learns():
    encoder = make().train()
    (encoder.embed(tones(200, 500, 900)) * torch.randn(3, 20)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_tones_are_learned_in_a_few_steps():
    """Unseen ones, at other loudness: what alignment asks of it on a larger scale."""
    generator = torch.Generator().manual_seed(0)
    encoder = make().train()
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=5e-3)
    heads = torch.randn(4, 20, generator=generator)

    def draw(num):
        label = torch.arange(num) % 4
        hertz = 250 * 2 ** (label * 0.8 + 0.5 * torch.rand(num, generator=generator))
        gain = 0.05 + torch.rand(num, 1, generator=generator)
        return label, gain * tones(*hertz.tolist(), seconds=0.3)

    for _ in range(25):
        label, sounds = draw(16)
        loss = torch.nn.functional.cross_entropy(8 * encoder.embed(sounds, generator) @ heads.T, label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    label, sounds = draw(40)
    answers = (encoder.eval().embed(sounds) @ heads.T).argmax(dim=1)
    assert (answers == label).float().mean() > 0.8


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_samples": 100}, "conditioner.sound.num_samples 100: give at least one window, 256"),
        ({"n_mels": 40}, "conditioner.sound.n_mels 40: 4 levels halve it; give a multiple of 16"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(fields, named):
    with pytest.raises(InputError, match=named):
        make(**fields)


def test_a_saved_one_hears_the_same(tmp_path):
    encoder = make()
    encoder.save_pretrained(tmp_path)
    again = SoundEncoder.from_pretrained(tmp_path)
    torch.testing.assert_close(again.embed(tones(300)), encoder.embed(tones(300)), rtol=1e-5, atol=1e-6)
