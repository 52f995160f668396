"""A sound and a text as one condition: [text | sound], either of which may be absent, dropped or weighed alone."""

from __future__ import annotations

import copy

import pytest
import torch
from claps import RATE, WIDTH, write_clap
from stable_diffusion_texts import write_texts

from synesthete.conditioning.audio_text import AudioTextConditioner, SoundAndText
from synesthete.conditioning.clip_text import ClipPrompts
from synesthete.conditioning.frozen_sound import Clap, ClapTower
from synesthete.conditioning.labels import Labels
from synesthete.conditioning.learned_encoders import SoundEncoder, TextTransformer
from synesthete.config import Recipe, build
from synesthete.config.build import plain, resolved
from synesthete.types import InputError

NUM_SOUND = 8
CAPTIONS = ("a handwritten digit", "a digit")
SMALL = {"sample_rate": RATE, "num_samples": RATE, "n_fft": 256, "hop_length": 80, "n_mels": 32, "channels": (8, 12)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """To be read only."""
    root = tmp_path_factory.mktemp("published")
    return write_clap(root / "clap"), write_texts(root / "base")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def small(**fields) -> AudioTextConditioner:
    """Both encoders learn."""
    torch.manual_seed(0)
    sound, text = SoundEncoder(**SMALL, width=20), TextTransformer(CAPTIONS, width=32, num_tokens=6)
    return AudioTextConditioner(sound, text, **{"width": 32, "hidden": 48} | fields).eval()


def published(folders, **fields) -> AudioTextConditioner:
    """Both encoders are frozen, as at full size."""
    torch.manual_seed(0)
    clap, base = folders
    return AudioTextConditioner(
        Clap(str(clap), RATE), ClipPrompts(str(base), CAPTIONS), width=16, hidden=48, **fields
    ).eval()


@pytest.fixture(params=["small", "published"])
def hearing(request, folders) -> AudioTextConditioner:
    return small() if request.param == "small" else published(folders)


def sounds(num: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = [RATE // 2 + 700 * i for i in range(num)]
    return [
        0.1 * torch.randn(n, generator=generator) + torch.sin(0.2 * (i + 1) * torch.arange(n)) / 3
        for i, n in enumerate(lengths)
    ]


def text_length(hearing: AudioTextConditioner) -> int:
    return hearing.text_encoder.config.num_tokens


def test_the_sound_tokens_are_the_last_and_both_are_kept(hearing):
    raw = hearing.compose(sounds(), ["a digit"])
    told, num = hearing.encode(raw), text_length(hearing)
    assert told.tokens.shape == (4, num + NUM_SOUND, hearing.config.width)
    assert told.mask.shape == (4, num + NUM_SOUND) and told.mask.dtype == torch.bool
    assert told.pooled is None and told.spatial is None
    text, mask = hearing.text_encoder.read(raw.text)
    assert torch.equal(told.tokens[:, :num], text) and torch.equal(told.mask[:, :num], mask)
    torch.testing.assert_close(told.tokens[:, num:], hearing.to_tokens(hearing.embed_audio(raw)))
    assert told.mask[:, num:].all()
    assert torch.pdist(told.tokens[:, num:].flatten(1)).min() > 1e-2  # every sound says something else
    assert torch.pdist(told.tokens[0, num:]).min() > 1e-2  # in tokens that say something else


def test_what_is_absent_is_masked_or_the_empty_text(hearing):
    whole, num = hearing.compose(sounds(), ["a digit"]), text_length(hearing)
    null, empty = hearing.null(4), hearing.text_encoder.read(hearing.text_encoder.tokenise([""] * 4))
    silent = hearing.encode(SoundAndText(text=whole.text))
    wordless = hearing.encode(SoundAndText(sound=whole.sound))
    assert not silent.mask[:, num:].any() and not null.mask[:, num:].any()
    assert torch.equal(silent.tokens[:, :num], hearing.encode(whole).tokens[:, :num])
    assert torch.equal(wordless.tokens[:, num:], hearing.encode(whole).tokens[:, num:])
    for told in (wordless, null):
        assert torch.equal(told.tokens[:, :num], empty[0]) and torch.equal(told.mask[:, :num], empty[1])
    assert null.mask[:, 0].all()  # attention over nothing at all is not a number


def test_a_batch_equals_its_singles(hearing):
    """And a silent clip, one shorter and one longer than CLAP's own length say something finite."""
    clips = [*sounds(2), torch.zeros(800), sounds(1)[0].repeat(5)]
    together = hearing.encode(hearing.compose(clips, ["a digit"] * 4)).tokens
    for i, clip in enumerate(clips):
        alone = hearing.encode(hearing.compose([clip], ["a digit"])).tokens[0]
        torch.testing.assert_close(alone, together[i], rtol=1e-4, atol=1e-5)
    assert together.isfinite().all()
    vectors = hearing.embed_audio(hearing.compose(clips))
    assert vectors.norm(dim=1).tolist() == pytest.approx([1] * 4, abs=1e-5)
    if hearing.has_fixed_features:
        alone = torch.cat([hearing.embed_audio(hearing.compose([clip])) for clip in clips])
        assert torch.equal(alone, vectors)


def test_a_kept_vector_says_what_its_sound_says(hearing, monkeypatch):
    raw = hearing.compose(sounds(), ["a digit"])
    seen = hearing.extract_features(raw)
    assert seen.sound.shape == (4, hearing.audio_encoder.width) and seen.sound.dtype == torch.float32
    assert not seen.sound.requires_grad and torch.equal(seen.text, raw.text)
    assert torch.equal(hearing.encode(seen).tokens, hearing.encode(raw).tokens)
    assert hearing.extract_features(seen) is seen
    assert (hearing.identity() is not None) == hearing.has_fixed_features
    if hearing.has_fixed_features:  # asked once for every sound, by this process or another
        monkeypatch.setattr(ClapTower, "_hear", None)
        assert torch.equal(hearing.extract_features(raw).sound, seen.sound)
        assert hearing.identity()["sample_rate"] == RATE


def test_numbers_of_captions_stand_for_their_texts(hearing):
    numbers = SoundAndText(text=torch.tensor([1, 0]))
    written = SoundAndText(text=hearing.text_encoder.tokenise([CAPTIONS[1], CAPTIONS[0]]))
    assert torch.equal(hearing.encode(numbers).tokens, hearing.encode(written).tokens)


def test_text_and_sound_are_dropped_each_by_itself(hearing):
    num, share = 4000, 0.3
    raw = hearing.compose(sounds(1), ["a digit"])
    condition = hearing.encode(raw)[torch.zeros(num, dtype=torch.int64)]
    dropped = hearing.drop(condition, raw, torch.Generator().manual_seed(0), share)
    length, null = text_length(hearing), hearing.null(1)
    no_text = (dropped.tokens[:, :length] == null.tokens[:, :length]).flatten(1).all(dim=1)
    no_sound = ~dropped.mask[:, length:].any(dim=1)
    assert torch.equal(no_sound, ~dropped.mask[:, length:].all(dim=1))
    assert no_text.float().mean() == pytest.approx(share, abs=0.03)
    assert no_sound.float().mean() == pytest.approx(share, abs=0.03)
    assert (no_text & no_sound).float().mean() == pytest.approx(share**2, abs=0.02)
    assert torch.equal(dropped.tokens[~no_text, :length], condition.tokens[~no_text, :length])
    assert torch.equal(dropped.tokens[~no_sound, length:], condition.tokens[~no_sound, length:])
    again = hearing.drop(condition, raw, torch.Generator().manual_seed(0), share)
    assert torch.equal(again.tokens, dropped.tokens) and torch.equal(again.mask, dropped.mask)
    for all_or_none, expected in ((0.0, condition), (1.0, hearing.null(num))):
        found = hearing.drop(condition, raw, torch.Generator().manual_seed(0), all_or_none)
        assert torch.equal(found.tokens, expected.tokens) and torch.equal(found.mask, expected.mask)


def test_the_branches_of_guidance(hearing):
    raw = hearing.compose(sounds(), ["a digit"])
    none, text, both = hearing.branches(raw)
    expected = hearing.null(4), hearing.encode(SoundAndText(text=raw.text)), hearing.encode(raw)
    for found, one in zip((none, text, both), expected, strict=True):
        assert torch.equal(found.tokens, one.tokens) and torch.equal(found.mask, one.mask)
    none, text, both = hearing.branches(SoundAndText(text=raw.text))
    assert both is text is not none
    none, text, both = hearing.branches(SoundAndText(sound=raw.sound))
    assert text is none is not both


def test_a_negative_prompt_stands_where_nothing_is_told(hearing):
    raw = hearing.compose(sounds(2), ["a digit"])
    plain = hearing.branches(raw)
    for negative in ("a handwritten digit", ["a handwritten digit"] * 2):
        none, text, both = hearing.branches(raw, negative)
        away = hearing.encode(SoundAndText(text=hearing.text_encoder.tokenise(["a handwritten digit"] * 2)))
        assert torch.equal(none.tokens, away.tokens) and torch.equal(none.mask, away.mask)
        assert torch.equal(text.tokens, plain[1].tokens) and torch.equal(both.tokens, plain[2].tokens)
    none, text, _ = hearing.branches(SoundAndText(sound=raw.sound), "a digit")
    assert torch.equal(text.tokens, hearing.null(2).tokens) and not torch.equal(none.tokens, text.tokens)
    with pytest.raises(InputError, match="3 negative prompts for 2 samples; give one, or one for each"):
        hearing.branches(raw, ["a digit"] * 3)


def test_every_trainable_parameter_learns_and_no_frozen_one_does(hearing):
    hearing.train()
    raw = hearing.compose(sounds(), [*CAPTIONS, "handwritten a", "digit"])
    condition = hearing.drop(hearing.encode(raw), raw, torch.Generator().manual_seed(1), 0.3)
    kept = condition.tokens[condition.mask]
    (kept * torch.randn(kept.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name, parameter in hearing.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    if hearing.has_fixed_features:
        assert {name.split(".")[0] for name, _ in hearing.named_parameters()} == {"to_tokens"}
        for network in (hearing.audio_encoder.tower.network, hearing.text_encoder.tower.network):
            assert not network.training and all(not p.requires_grad and p.grad is None for p in network.parameters())


def test_its_groups_are_all_its_parameters_once(hearing):
    groups = hearing.groups()
    assert set(groups) == ({"sound"} if hearing.has_fixed_features else {"sound", "encoder", "text"})
    listed = [parameter for group in groups.values() for parameter in group]
    assert {id(p) for p in listed} == {id(p) for p in hearing.parameters()} and len(listed) == len(set(map(id, listed)))
    assert {id(p) for p in groups["sound"]} == {id(p) for p in hearing.to_tokens.parameters()}


def test_saved_and_loaded_it_says_the_same_without_the_frozen_weights(hearing, tmp_path):
    hearing.save_pretrained(tmp_path)
    again = AudioTextConditioner.from_pretrained(tmp_path).eval()
    raw = hearing.compose(sounds(), ["a digit"])
    torch.testing.assert_close(again.encode(raw).tokens, hearing.encode(raw).tokens, rtol=1e-5, atol=1e-6)
    assert torch.equal(again.compose(sounds(), ["a digit"]).text, raw.text)
    assert again.state_dict().keys() == hearing.state_dict().keys()
    assert again.sample_rate == RATE
    if hearing.has_fixed_features:
        assert {name.split(".")[0] for name in again.state_dict()} == {"to_tokens"}
        assert (tmp_path / "diffusion_pytorch_model.safetensors").stat().st_size < 2**18


def test_copies_share_the_towers_and_half_precision_is_of_the_trained_part_alone(folders):
    hearing = published(folders)
    half = copy.deepcopy(hearing).to(torch.bfloat16)
    assert (
        half.audio_encoder.tower is hearing.audio_encoder.tower
        and half.text_encoder.tower is hearing.text_encoder.tower
    )
    told = half.encode(half.compose(sounds(2), ["a digit"]))
    assert told.tokens.dtype == torch.bfloat16 and told.mask.dtype == torch.bool
    assert {p.dtype for p in hearing.audio_encoder.tower.network.parameters()} == {torch.float32}
    expected = hearing.encode(hearing.compose(sounds(2), ["a digit"])).tokens
    torch.testing.assert_close(told.tokens.float(), expected, rtol=0.1, atol=0.1)


def test_a_waveform_as_long_as_a_vector_is_no_vector():
    hearing = small()
    clip = torch.rand(1, hearing.embedding_width) - 0.5
    raw = SoundAndText(sound=clip)
    vector = hearing.extract_features(raw)
    assert vector.is_embedded and not torch.equal(vector.sound, clip)
    assert torch.equal(hearing.encode(raw).tokens, hearing.encode(vector).tokens)
    assert vector[[0]].to("cpu").is_embedded
    with pytest.raises(InputError, match="wide"):
        hearing.encode(SoundAndText(torch.zeros(1, hearing.embedding_width + 1), is_embedded=True))


def test_it_is_a_part_of_a_recipe():
    part = build(
        AudioTextConditioner,
        sound=build(SoundEncoder, **SMALL),
        text=build(TextTransformer, captions=CAPTIONS, width=32),
        width=32,
    )
    recipe = Recipe("mine", "audio-to-image", *[part] * 5, stages=[])
    recipe.set("conditioner.sound.width=24")
    recipe.set("conditioner.hidden=40")
    again = resolved(plain(recipe.conditioner), "conditioner")
    assert again == recipe.conditioner
    with torch.device("meta"):  # as a recipe is checked
        made = again()
    assert made.audio_encoder.width == 24 and made.to_tokens.mlp[0].out_features == 40


def test_raw_conditions_are_cut_moved_and_counted():
    whole = SoundAndText(torch.arange(12.0).view(4, 3), torch.arange(8).view(4, 2))
    assert len(whole) == 4 and len(whole[1:3]) == 2
    chosen = whole[torch.tensor([3, 0])]
    assert chosen.sound[:, 0].tolist() == [9, 0] and chosen.text[:, 0].tolist() == [6, 0]
    assert whole.to("meta").sound.device.type == whole.to("meta").text.device.type == "meta"
    for half in (SoundAndText(sound=whole.sound), SoundAndText(text=whole.text)):
        assert len(half[:2].to("cpu")) == 2 and (half[:2].sound is None) != (half[:2].text is None)
    with pytest.raises(ValueError, match="no batch size"):
        len(SoundAndText())


def test_one_prompt_goes_with_every_sound_and_one_sound_with_every_prompt():
    hearing = small()
    many = hearing.compose(sounds(3), ["a digit"])
    assert many.sound.shape == (3, 5400) and (many.text == many.text[0]).all()
    assert many.sound[0, 4000:].eq(0).all() and torch.equal(many.sound[1, :4700], sounds(3)[1])
    assert len(hearing.compose(sounds(1), ["a digit", "digit"]).sound) == 2


@pytest.mark.parametrize(
    ("act", "named"),
    [
        (lambda h: h.compose(sounds(2), ["a"] * 3), "2 sounds, 3 prompts: give as many of both, or one of either"),
        (lambda h: h.compose(), "0 sounds, 0 prompts: give as many"),
        (lambda h: h.compose(prompts=["a zebra"]), "never read 'zebra'"),
        (lambda h: h.encode(SoundAndText(torch.full((1, 900), torch.nan))), "NaN or infinite samples; mend or remove"),
        (lambda h: h.encode(SoundAndText(torch.zeros(1, 2, 900))), r"sound of \(1, 2, 900\) torch.float32; give wavef"),
        (lambda h: h.encode(SoundAndText(torch.zeros(1, 900).long())), "torch.int64; give waveforms"),
        (lambda h: small(width=16), "conditioner.width 16: its text is 32 wide; --set conditioner.width=32"),
        (lambda h: small(num_sound_tokens=1), "num_sound_tokens 1: attention over one is a constant"),
        (
            lambda h: AudioTextConditioner(Labels(), h.text_encoder),
            "conditioner.sound: Labels is no encoder of sound; give .* Clap$",
        ),
        (
            lambda h: AudioTextConditioner(h.audio_encoder, h.audio_encoder),
            "conditioner.text: SoundEncoder is no encoder of text; give .* TextTransformer$",
        ),
    ],
)
def test_what_cannot_be_told_is_one_line(act, named):
    with pytest.raises(InputError, match=named) as caught:
        act(small())
    assert "\n" not in str(caught.value)


def test_at_full_size_its_projection_is_the_seeds():
    """512 -> 1024 -> 1024 -> 8 x 768 with norms, place and kind: 7.9 million parameters."""
    with torch.device("meta"):
        hearing = AudioTextConditioner(Clap(), ClipPrompts())
    perceptron = (512 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 8 * 768 + 2 * 2 * 1024
    assert sum(p.numel() for p in hearing.parameters()) == perceptron + 2 * 768 + 8 * 768 + 768
    assert hearing.sample_rate == 48_000 and hearing.config.width == 768
    assert WIDTH != hearing.audio_encoder.width == 512


def test_another_ear_begins_with_how_the_first_one_reads(folders):
    """A model of a learned ear goes on with a published one, and the other way; of the same kind all is taken."""
    first = small()
    torch.manual_seed(1)
    text = TextTransformer(CAPTIONS, width=32, num_tokens=6)
    other = AudioTextConditioner(Clap(str(folders[0]), RATE), text, width=32, hidden=48)
    fresh = other.to_tokens.state_dict()
    other.load_state_dict(other.weights_of(first))
    assert all(torch.equal(value, fresh[key]) for key, value in other.to_tokens.state_dict().items())
    theirs = first.text_encoder.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in other.text_encoder.state_dict().items())
    assert first.weights_of(small()).keys() == first.state_dict().keys()
