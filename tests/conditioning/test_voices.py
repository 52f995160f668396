"""Pictures with a voice beside them: what is told, what is left out in training, what chance decides, and bad input."""

from __future__ import annotations

import pytest
import torch

from synesthete.conditioning.pictures import PictureStem
from synesthete.conditioning.voices import NONE, VoicedPicture
from synesthete.seeding import sample_generators
from synesthete.types import InputError, SpokenPictures

VOICES = ("en-us-f3", "en-us-m1", "af_heart")


def voiced(**settings) -> VoicedPicture:
    torch.manual_seed(0)
    stem = PictureStem(size=8, widths=(8, 16), width=32)
    how = {"voices": VOICES, "pitches": (30, 70), "rates": (130, 190), "width": 32}
    return VoicedPicture(stem, **how | settings).eval()


@pytest.fixture(scope="module")
def conditioner() -> VoicedPicture:
    return voiced()


def pictures(num: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (num, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def assert_equal(one, other) -> None:
    torch.testing.assert_close(one.tokens, other.tokens)
    torch.testing.assert_close(one.pooled, other.pooled)


@pytest.mark.parametrize("told", [{"voice": "af_heart"}, {"pitch": 70}, {"rate": 130.0}])
def test_each_of_the_three_changes_what_is_told_and_nothing_of_what_is_seen(conditioner, told):
    alone = conditioner.encode(conditioner.compose(pictures()))
    spoken = conditioner.encode(conditioner.compose(pictures(), **told))
    assert spoken.tokens.shape == (4, 5, 32) and spoken.pooled.shape == (4, 32)
    torch.testing.assert_close(spoken.tokens[:, :-1], alone.tokens[:, :-1])
    assert (spoken.tokens[:, -1] - alone.tokens[:, -1]).abs().mean() > 1e-2
    change = spoken.pooled - alone.pooled
    assert change.abs().mean() > 1e-2
    torch.testing.assert_close(change, change[:1].expand(4, -1))
    assert_equal(conditioner.look(conditioner.compose(pictures(), **told)), conditioner.picture.encode(pictures()))


def test_pictures_alone_say_nothing_of_a_voice_and_nor_does_the_null(conditioner):
    assert_equal(conditioner.encode(pictures()), conditioner.encode(conditioner.compose(pictures())))
    null, seen = conditioner.null(2), conditioner.picture.null(2)
    torch.testing.assert_close(null.tokens[:, :-1], seen.tokens)
    untold = conditioner.encode(pictures())
    torch.testing.assert_close(null.tokens[0, -1], untold.tokens[0, -1])


def test_a_batch_equals_its_singles_and_a_saved_one_says_the_same(conditioner, tmp_path):
    raw = SpokenPictures.concatenate(
        [conditioner.compose(pictures(2), voice="en-us+m1", rate=150), conditioner.compose(pictures(2), pitch=31)]
    )
    conditioner.save_pretrained(tmp_path)
    again = VoicedPicture.from_pretrained(tmp_path)
    assert again.voices == VOICES
    whole = conditioner.encode(raw)
    assert_equal(again.encode(raw), whole)
    for i in range(4):
        torch.testing.assert_close(conditioner.encode(raw[i : i + 1]).pooled[0], whole.pooled[i], rtol=1e-4, atol=1e-5)


def test_in_training_each_is_left_out_by_itself_as_often_as_asked():
    """Of 2000 samples, told by where the added vector is that of one untold; the same seed leaves out the same."""
    conditioner = voiced(voice_dropout=0.25, number_dropout=0.5)
    raw = conditioner.compose(pictures(1).expand(2000, -1, -1, -1), voice="en-us-f3", pitch=30, rate=190)
    pooled = conditioner.encode(raw, torch.Generator().manual_seed(1)).pooled
    assert pooled.equal(conditioner.encode(raw, torch.Generator().manual_seed(1)).pooled)
    for told, share in (({}, 0.25 * 0.5 * 0.5), ({"voice": "en-us-f3"}, 0.75 * 0.25), ({"pitch": 30}, 0.25**2)):
        expected = conditioner.encode(conditioner.compose(pictures(1), **told)).pooled
        found = torch.isclose(pooled, expected, atol=1e-4).all(dim=1).double().mean().item()
        assert found == pytest.approx(share, abs=0.025)
    assert conditioner.encode(raw).pooled.std(dim=0).max() < 1e-5  # nothing is left out where nothing is drawn


def test_chance_chooses_a_voice_by_the_seed_and_leaves_the_noise_as_it_is(conditioner):
    generators = sample_generators(0, 64)
    before = [one.get_state() for one in generators]
    drawn = conditioner.complete(pictures(1).expand(64, -1, -1, -1), generators)
    assert drawn.voice.unique().tolist() == [0, 1, 2]
    assert all(one.get_state().equal(state) for one, state in zip(generators, before, strict=True))
    assert conditioner.complete(pictures(2), sample_generators(0, 64)[7:9]).voice.equal(drawn.voice[7:9])
    told = conditioner.compose(pictures(), voice="en-us-m1")
    assert conditioner.complete(told, generators[:4]).voice.tolist() == [1] * 4
    assert voiced(voices=None).complete(pictures(), generators[:4]).voice.tolist() == [NONE] * 4


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"voice": "f3"}, "voice 'f3': none of this model's 3, such as en-us-f3; or give all"),
        ({"voice": "af_hart"}, "such as af_heart"),
        ({"voice": "zzz"}, "such as en-us-f3, en-us-m1, af_heart"),
        ({"pitch": 99}, "pitch 99: this model learned 30 to 70"),
        ({"rate": 20}, "rate 20: this model learned 130 to 190 words a minute"),
    ],
)
def test_what_it_never_learned_is_refused_in_one_line(conditioner, told, message):
    with pytest.raises(InputError, match=message) as caught:
        conditioner.compose(pictures(), **told)
    assert "\n" not in str(caught.value)


def test_a_model_of_one_pitch_is_told_of_it_as_of_the_middle_and_of_no_other(conditioner):
    alone = voiced(pitches=(50, 50))
    alone.load_state_dict(conditioner.state_dict())
    assert_equal(
        alone.encode(alone.compose(pictures(), pitch=50)), conditioner.encode(conditioner.compose(pictures(), pitch=50))
    )
    with pytest.raises(InputError, match="pitch 60: the voices of this model have one pitch each"):
        alone.compose(pictures(), pitch=60)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"voices": ("en-us-f3",)}, "none to choose from"),
        ({"voices": ("a", "a")}, "each once"),
        ({"width": 16}, r"--set conditioner\.width=32"),
    ],
)
def test_voices_that_are_no_choice_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        voiced(**settings)


def test_a_number_that_is_no_voice_is_refused(conditioner):
    raw = conditioner.compose(pictures(1))
    with pytest.raises(InputError, match=r"voice \[3\]: out of range; this model has 3 voices"):
        conditioner.encode(SpokenPictures(raw.pictures, torch.tensor([3]), raw.pitch, raw.rate))


def test_shares_of_voices_are_told_as_the_mean_of_their_vectors(conditioner):
    """All of one voice is that voice by name; none of any is no voice; half and half lies between."""

    def spoken(voice):
        return conditioner.encode(conditioner.compose(pictures(), voice=voice))

    first, second = (torch.eye(3)[i] for i in (0, 1))
    assert_equal(spoken(first), spoken(VOICES[0]))
    assert_equal(spoken(torch.zeros(3)), spoken(None))
    between = (spoken(first).pooled + spoken(second).pooled) / 2
    torch.testing.assert_close(spoken((first + second) / 2).pooled, between)
    by_number = conditioner.shares(torch.tensor([1, NONE]))
    assert torch.equal(by_number, torch.stack([second, torch.zeros(3)]))
    kept = conditioner.complete(conditioner.compose(pictures(2), voice=first), sample_generators(0, 2))
    assert torch.equal(kept.voice, first.expand(2, -1))
    with pytest.raises(InputError, match="shares of 2 voices; this model has 3"):
        spoken(torch.ones(2))
