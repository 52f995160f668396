"""Who speaks in a clip: what does not count, what is refused, and how a vector becomes shares of voices."""

from __future__ import annotations

import copy

import pytest
import torch

from synesthete.conditioning.speakers import HELD, SpeakerEncoder, held_tones
from synesthete.types import InputError

RATE = 8000


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    torch.manual_seed(0)
    found = SpeakerEncoder(("low", "high", "hoarse"), RATE, 256, 64, 20, width=16, dim=8).eval()
    for layer in found.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.running_mean.normal_()
    found.vectors.copy_(found.vectors_of(torch.stack([speech(110), speech(220), speech(160, noise=0.3)])))
    return found


def speech(hertz: float, seconds: float = 0.8, noise: float = 0.01) -> torch.Tensor:
    """A buzz (S,) whose colour and pitch change in time."""
    time = torch.arange(round(seconds * RATE)) / RATE
    phase = 2 * torch.pi * torch.cumsum(hertz * (1 + 0.15 * torch.sin(2 * torch.pi * 1.3 * time)) / RATE, dim=0)
    waves = [torch.sin(h * phase) / h * (1 + 0.8 * torch.sin(9 * h * time)) for h in range(1, 12)]
    grain = noise * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return 0.05 * torch.stack(waves).sum(dim=0) + 0.2 * grain


def melody(num: int = 6, seconds: float = 0.5) -> torch.Tensor:
    """Notes (S,) of four partials, held one after the other."""
    time = torch.arange(round(seconds * RATE)) / RATE
    notes = [220 * 2 ** (step / 12) for step in (0, 4, 7, 12, 7, 4)[:num]]
    return torch.cat([sum(torch.sin(2 * torch.pi * k * note * time) / k for k in range(1, 5)) for note in notes]) / 4


def test_notes_are_held_and_a_voice_s_pitch_glides():
    """However fast the clip is sampled, and of one note as of several."""
    assert held_tones(melody(), RATE) > HELD and held_tones(melody(1, 2.0), RATE) > 0.8
    assert max(held_tones(speech(hertz, 3.0), RATE) for hertz in (110, 220)) < HELD
    hiss = torch.randn(3 * RATE, generator=torch.Generator().manual_seed(0))
    assert abs(held_tones(hiss, RATE)) < 0.1
    assert held_tones(melody()[:100], RATE) == 0


def test_level_and_silence_around_a_clip_do_not_count(encoder):
    clip = speech(130)
    padded = torch.nn.functional.pad(clip, (3 * 640, 5 * 640))
    one, softer, longer = (encoder.vectors_of(x[None])[0] for x in (clip, 0.1 * clip, padded))
    assert one.norm() == pytest.approx(1)
    torch.testing.assert_close(softer, one, rtol=1e-3, atol=1e-3)
    assert one @ longer > 0.98
    together = encoder.vectors_of(torch.stack([speech(110), clip]))
    torch.testing.assert_close(together[1], one)


def test_shares_are_a_softmax_over_similarity_and_one_s_own_voice_has_the_largest(encoder):
    vector = encoder.vectors_of(speech(220)[None])
    shares = encoder.recognise(speech(220), "clip")
    torch.testing.assert_close(shares, (vector @ encoder.vectors.T / encoder.temperature).softmax(dim=1)[0])
    assert shares.sum() == pytest.approx(1) and shares.argmax() == 1


def test_saved_and_loaded_it_says_the_same(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    again = SpeakerEncoder.from_pretrained(tmp_path)
    assert again.config.voices == ("low", "high", "hoarse")
    assert torch.equal(again.recognise(speech(140), "clip"), encoder.recognise(speech(140), "clip"))


@pytest.mark.parametrize(
    ("clip", "limits", "message"),
    [
        (torch.zeros(RATE), {}, "clip.wav: silence"),
        (speech(110)[: RATE // 4], {}, "clip.wav: 0.25 s long; of a voice half a second is needed"),
        (torch.full((RATE,), torch.nan), {}, "NaN"),
        (speech(110), {"least_similarity": 1.1}, r"clip.wav: no speech, or unlike any .* \(similarity"),
        (torch.cat([speech(110, 2), speech(220, 2)]), {"least_agreement": 1.1}, "clip.wav: two speakers, as it seems"),
        (melody(), {}, "clip.wav: music, as it seems"),
    ],
)
def test_what_is_no_voice_is_one_line(encoder, clip, limits, message):
    strict = copy.deepcopy(encoder)
    for name, value in limits.items():
        getattr(strict, name).fill_(value)
    with pytest.raises(InputError, match=message) as caught:
        strict.recognise(clip, "clip.wav")
    assert "\n" not in str(caught.value)


def test_short_and_long_clips_have_limits_of_their_own(encoder):
    strict = copy.deepcopy(encoder)
    strict.least_agreement[1] = 1.1
    strict.recognise(speech(110, 0.8), "clip")
    strict.recognise(speech(110, 2.0), "clip")  # the halves of a phrase are other sounds
    with pytest.raises(InputError, match="two speakers"):
        strict.recognise(torch.cat([speech(110, 2.0), speech(220, 2.0)]), "clip")


def test_halves_by_two_speakers_agree_less_than_one_speaker_s(encoder):
    def agreement(*parts):
        return encoder.encode(encoder.log_mel(torch.cat(parts)[None]))[1].item()

    one, two = agreement(speech(110), speech(110)), agreement(speech(110), speech(400, noise=0.5))
    assert one > 0.9 and two < one
