"""The encoder of speakers that lies beside a model with voices: how it learns, and where it is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from synesthete import seeding
from synesthete.conditioning.speakers import SpeakerEncoder
from synesthete.data.audio import as_float
from synesthete.data.synthetic import Tones, synthesise
from synesthete.evaluation.classifiers.classifier import TrainingSettings
from synesthete.evaluation.classifiers.speech import split_takes
from synesthete.io import write_folder
from synesthete.types import AudioSpec, InputError, Progress, first_line

if TYPE_CHECKING:
    from synesthete.data.rows import Rows
    from synesthete.data.speech.corpus import Clips

    Takes = Mapping[int, Mapping[int, Sequence[int]]]  # places of clips by speaker and word

FOLDER = "speakers"  # in a model's
NUM_STEPS = 600
NUM_JOINED = 3  # takes at most that a view of a voice is made of, each of another word
NUM_LONG = 4  # of a long clip
NUM_TONES = 24  # melodies and noises of each timbre, which are nobody's voice
NUM_BESIDE = 16  # of these in a step
SHARPNESS = 10.0  # of the contrast
TRAINING = TrainingSettings(NUM_BESIDE, 3e-3, 0.01, 0.0, 0.1, 1, NUM_STEPS, NUM_STEPS)
LEAST = 0.01  # the share of held-out speech that may be taken for no speech, or for two speakers
TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
CHUNK = 100


def train_speaker_encoder(
    clips: Clips,
    held_out: Clips,
    voices: Sequence[str],
    spec: AudioSpec,
    *,
    num_steps: int = NUM_STEPS,
    progress: Progress | None = None,
) -> SpeakerEncoder:
    """An encoder that learned from the takes of these voices, of which one in four is kept from it, and from tones.

    Two views of a voice are takes of different words (InfoNCE, van den Oord et al. 2018): what is alike is who speaks.
    held_out: of other speakers; temperature and limits are chosen on them. progress("speakers", step, num_steps).
    """
    own, others = clips[split_takes(clips, voices)[1]], held_out
    takes = by_speaker_and_word(own, voices)
    speakers = sorted(set(others.speakers))
    aside = by_speaker_and_word(others, speakers)
    if min(len(takes), len(aside)) < 2:
        raise InputError(
            f"{len(takes)} voices and {len(aside)} held-out speakers with two words each; an encoder of speakers needs "
            "two of both: add voices, words or takes"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.derive(0, "speaker weights"))
        encoder = SpeakerEncoder(tuple(voices), spec.sample_rate, spec.n_fft, spec.hop_length, spec.n_mels)
        log_mels = all_log_mels(encoder, own.waveforms)
        TRAINING.fit(encoder.train(), contrast(encoder, log_mels, takes), num_steps, progress, "speakers")
    encoder.eval()
    found = torch.cat([encoder.encode(part)[0] for part in log_mels.split(CHUNK)])
    places = [[i for i, name in enumerate(own.speakers) if name == voice] for voice in voices]
    nobody = F.normalize(found.sum(dim=0), dim=0)
    means = [F.normalize(found[each].sum(dim=0), dim=0) if each else nobody for each in places]
    encoder.vectors.copy_(torch.stack(means))
    _measure(encoder, all_log_mels(encoder, others.waveforms), aside, seeding.generator(0, "held-out speakers"))
    return encoder


def contrast(encoder: SpeakerEncoder, log_mels: Tensor, takes: Takes) -> Callable[[], Tensor]:
    """The loss of takes and tones, drawn anew at every call."""
    chance = seeding.generator(0, "speakers")
    tones = tone_log_mels(encoder, NUM_JOINED * log_mels.shape[2])
    most = min(NUM_JOINED, *(len(words) // 2 for words in takes.values()))

    def loss() -> Tensor:
        num = int(torch.randint(1, most + 1, (), generator=chance))
        drawn = [draw_words(words, 2 * num, chance) for words in takes.values()]
        views = [join_takes(log_mels, [each[part] for each in drawn]) for part in (slice(num), slice(num, None))]
        beside = tones[torch.randint(len(tones), (NUM_BESIDE,), generator=chance)][..., : views[0].shape[2]]
        found = encoder(recorded_otherwise(torch.cat([*views, beside]), chance))
        first, second, nobody = found.split([len(takes), len(takes), NUM_BESIDE])
        own = torch.arange(len(takes))
        sides = [SHARPNESS * a @ torch.cat([b, nobody]).T for a, b in ((first, second), (second, first))]
        return F.cross_entropy(torch.cat(sides), own.repeat(2))

    return loss


def _measure(encoder: SpeakerEncoder, log_mels: Tensor, takes: Takes, chance: torch.Generator) -> None:
    """Limits and temperature, by clips of speakers that it never heard."""
    several = min(NUM_LONG, *(len(words) for words in takes.values()))
    groups = [draw_words(words, several, chance) for words in takes.values() for _ in range(CHUNK)]
    for kind, mels in enumerate((log_mels, join_takes(log_mels, groups))):
        vectors, agreements, _ = (torch.cat(part) for part in zip(*map(encoder.encode, mels.split(CHUNK)), strict=True))
        encoder.least_similarity[kind] = (vectors @ encoder.vectors.T).amax(dim=1).quantile(LEAST)
        encoder.least_agreement[kind] = agreements.quantile(LEAST)
        if not kind:
            singles = vectors
    # What the voices make of one clip is to be like another clip of the same speaker.
    pairs = [draw_words(words, 2, chance) for words in takes.values() for _ in range(CHUNK)]
    one, other = (singles[[pair[i] for pair in pairs]] for i in (0, 1))
    alike = []
    for temperature in TEMPERATURES:
        encoder.temperature.fill_(temperature)
        alike.append((F.normalize(encoder.weigh(one) @ encoder.vectors, dim=1) * other).sum(dim=1).mean().item())
    encoder.temperature.fill_(TEMPERATURES[alike.index(max(alike))])


def by_speaker_and_word(clips: Clips, speakers: Sequence[str]) -> dict[int, dict[int, list[int]]]:
    """Places of clips by place of the speaker and by label; speakers of fewer than two words are left out."""
    numbers = {name: i for i, name in enumerate(speakers)}
    found: dict[int, dict[int, list[int]]] = {}
    for place, (name, label) in enumerate(zip(clips.speakers, clips.labels.tolist(), strict=True)):
        if name in numbers:
            found.setdefault(numbers[name], {}).setdefault(label, []).append(place)
    return {who: found[who] for who in sorted(found) if len(found[who]) > 1}


def draw_words(words: Mapping[int, Sequence[int]], num: int, chance: torch.Generator) -> list[int]:
    """Places of takes of `num` different words."""
    labels = list(words)
    chosen = [labels[i] for i in torch.randperm(len(labels), generator=chance)[:num].tolist()]
    return [words[label][int(torch.randint(len(words[label]), (), generator=chance))] for label in chosen]


def join_takes(log_mels: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """The log-mels (n, M, T) at the places of each group, one after the other, (num_groups, M, T * size)."""
    return log_mels[torch.tensor(groups)].movedim(1, 2).flatten(2)


def recorded_otherwise(log_mels: Tensor, chance: torch.Generator) -> Tensor:
    """Log-mels (B, M, T) as other rooms and microphones have them: a smooth colour, grain, and a floor of noise."""
    num, num_bands = log_mels.shape[:2]
    colour = F.interpolate(0.3 * torch.randn(num, 1, 6, generator=chance), num_bands, mode="linear", align_corners=True)
    grain = 0.3 * torch.rand(num, 1, 1, generator=chance) * torch.randn(log_mels.shape, generator=chance)
    floor = -4.0 - 8.0 * torch.rand(num, 1, 1, generator=chance)
    x = torch.logaddexp(log_mels + colour.mT + grain, floor.expand_as(log_mels))
    x = x - x.amax(dim=(1, 2), keepdim=True)
    return x.clamp(min=log_mels.min().item())


def all_log_mels(encoder: SpeakerEncoder, waveforms: Tensor | Rows) -> Tensor:
    """Of int16 waveforms (n, S), as the encoder reads them, (n, M, T)."""
    return torch.cat([encoder.log_mel(as_float(part)) for part in waveforms.split(CHUNK)])


def tone_log_mels(encoder: SpeakerEncoder, num_frames: int) -> Tensor:
    """Melodies and noises as the encoder reads them, (n, M, num_frames)."""
    seconds = encoder.spec.num_samples(num_frames) / encoder.spec.sample_rate
    tones: Any = Tones(NUM_TONES, seconds, encoder.spec.sample_rate).recordings()
    sounds = torch.stack([torch.from_numpy(synthesise(tone)).float() for tone in tones])
    # White noise as well: one that learned from melodies and bands of noise alone took it for a hoarse voice.
    hiss = 0.1 * torch.randn(NUM_TONES, sounds.shape[1], generator=seeding.generator(0, "white noise"))
    return all_log_mels(encoder, torch.cat([sounds, hiss]))[..., :num_frames]


def save_speaker_encoder(encoder: SpeakerEncoder, model: Path) -> None:
    """Write it into a model's folder, in half precision."""
    half = nn.Module.to(copy.deepcopy(encoder), torch.float16)
    write_folder(model / FOLDER, lambda folder: half.save_pretrained(folder))


def load_speaker_encoder(model: Path) -> SpeakerEncoder | None:
    """The one in a model's folder, or None where there is none."""
    folder = model / FOLDER
    if not (folder / "config.json").is_file():
        return None
    try:
        return nn.Module.to(SpeakerEncoder.from_pretrained(folder), torch.float32).eval()
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = first_line(error)
        raise InputError(f"{folder}: cannot be loaded ({reason}); remove it and train the model's run again") from None
