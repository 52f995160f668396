"""What published networks make of it, where their weights are on this machine: CLIP of the pictures, CLAP of sounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from synesthete import hub
from synesthete.conditioning.clap import ClapTower
from synesthete.conditioning.clip_text import TextTower
from synesthete.conditioning.frozen_encoder import one_line
from synesthete.data.captions import spoken
from synesthete.evaluation.features import ClipFeatures
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.metrics.metric import interval, interval_of_mean, metric
from synesthete.evaluation.samples import shuffled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from synesthete.evaluation.metrics.metric import Metric
    from synesthete.tasks.audio_to_image.classification import Answers
    from synesthete.types import Progress

CLIP, CLAP = "openai/clip-vit-base-patch32", "laion/larger_clap_music_and_speech"
MOST_TOKENS = 77
SHOWS, SOUNDS = "a picture of {}", "the sound of {}"


def clip_clap_scores(
    answers: Answers,
    class_names: Sequence[str],
    sample_rate: int,
    progress: Progress,
    *,
    clip: str = CLIP,
    clap: str = CLAP,
) -> tuple[list[Metric], list[str]]:
    """CLIP's answer to which class's name a picture fits, and CLAP's of a sound, and a note for each that is missing.

    Neither was trained here, so neither can have learned what a picture made here looks like. Nothing is downloaded.
    """
    found, notes = [], []
    for model, what in ((clip, "pictures"), (clap, "sounds")):
        if hub.local_weights(model) is None:
            notes.append(f"{model} is not on this machine, so {what} are not evaluated by it")
            continue
        progress(f"{what} by {model}", 0, 1)
        if what == "pictures":
            found += clip_scores(model, answers, class_names)
        else:
            found += clap_scores(model, answers, class_names, sample_rate)
        progress(f"{what} by {model}", 1, 1)
    return found, notes


def clip_scores(model: str, answers: Answers, class_names: Sequence[str]) -> list[Metric]:
    """CLIP score of each picture with its class's name, and how often that name fits best (Hessel et al. 2021)."""
    look, read, conditions = ClipFeatures(model), TextTower(model), answers.conditions
    prompts = [SHOWS.format(spoken(name)) for name in class_names]
    said = torch.stack([each[0] for each in read.extract_features(prompts, torch.device("cpu"), MOST_TOKENS)])
    real = conditions.samples.pictures[conditions.pictures]
    made, real = (F.normalize(look(pictures), dim=-1) for pictures in (answers.generated.signal, real))
    texts = F.normalize(said[:, : made.shape[1]].float(), dim=-1).T  # behind its pooled vector there may be zeros
    return zero_shot(f"CLIP, pictures ({model}", made @ texts, conditions.labels, answers, real @ texts)


def clap_scores(model: str, answers: Answers, class_names: Sequence[str], sample_rate: int) -> list[Metric]:
    """How often a sound fits its class's name best: what a published network hears in the sounds, whatever was made."""
    conditions = answers.conditions
    heard = ClapTower(model, sample_rate).embed_audio(conditions.samples.waveform(conditions.sounds))
    texts = read_clap_texts(model, [SOUNDS.format(spoken(name)) for name in class_names])
    return zero_shot(f"CLAP, sounds ({model}", F.normalize(heard, dim=-1) @ texts.T, conditions.labels, answers, None)


def zero_shot(name: str, likeness: Tensor, labels: Tensor, answers: Answers, real: Tensor | None) -> list[Metric]:
    """Figures of likeness (n, classes) to the classes' names; real: of the real pictures, their ceiling."""
    order = shuffled(len(labels), answers.seed)
    own, wrong = (likeness.gather(1, x[:, None]).flatten() for x in (labels, labels[order]))
    best = likeness.argmax(dim=1)
    told: dict[str, Any] = {"variant": name.partition(",")[0], "model": name, "num": len(labels)}
    share = accuracy(labels, best)
    beside = (interval(share, answers.conditions.num_sounds), answers.chance, accuracy(labels[order], best))
    ceilings: tuple[float | None, float | None] = (None, None)
    if real is not None:
        ceilings = (accuracy(labels, real.argmax(dim=1)), real.gather(1, labels[:, None]).mean().item())
    cosine = (own.mean().item(), interval_of_mean(own), likeness.mean().item(), wrong.mean().item(), ceilings[1])
    return [
        metric("class_accuracy_zero_shot", share, *beside, ceilings[0], **told),
        metric("class_cosine_zero_shot", *cosine, **told),
    ]


@torch.no_grad()
def read_clap_texts(model: str, texts: Sequence[str]) -> Tensor:
    """CLAP's vectors (n, E) of texts, of length 1.

    Raises:
        InputError: files that cannot be read.
    """
    # Imported here: most evaluations read through no CLAP.
    from transformers import AutoTokenizer, ClapTextModelWithProjection

    folder: Any = hub.local_weights(model)
    with one_line(model, "a CLAP"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        network = ClapTextModelWithProjection.from_pretrained(folder, dtype=torch.float32, weights_only=True).eval()
        tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
        return F.normalize(network(**tokens).text_embeds.float(), dim=-1)
