"""How near what is painted lies to what was heard: real pictures that it finds, and what CLIP and CLAP make of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from synesthete import hub, seeding
from synesthete.conditioning.clip_text import TextTower
from synesthete.conditioning.frozen_encoder import one_line, read_network
from synesthete.conditioning.frozen_sound import ClapTower
from synesthete.data.captions import spoken
from synesthete.evaluation.features import CLAP, CLIP, ClipFeatures
from synesthete.evaluation.metrics.metric import Metric, accuracy, accuracy_metric, interval, interval_of_mean, metric
from synesthete.evaluation.samples import shuffled

if TYPE_CHECKING:
    from synesthete.tasks.audio_to_image.eval_conditions import Answers, EvalConditions
    from synesthete.types import Progress

LARGEST = 100  # pictures that one's own is looked for among
NEAREST = (1, 5)
MOST_TOKENS = 77
SHOWS, SOUNDS = "a picture of {}", "the sound of {}"


def retrieval_metrics(
    what: str, num: int, ranks: Tensor, shuffled: Tensor, real: Tensor | None, num_sounds: int
) -> list[Metric]:
    """Mean rank and recall at 1 and 5 of the one right picture of a gallery of `num`; chance is a random order of it.

    ranks: (n,) at which it is found, the most alike being first. shuffled: at which the pictures painted of other
    sounds find it; real: at which another real picture of the class does; None where there is none to look.
    """
    told: dict[str, Any] = {"against": f"{what} among {num}, n = {len(ranks)}"}
    means = [None if each is None else each.double().mean().item() for each in (shuffled, real)]
    value, spread = ranks.double().mean().item(), interval_of_mean(ranks.double())
    found = [metric("retrieval_mean_rank", value, spread, (num + 1) / 2, *means, variant=what, **told)]
    for k in [k for k in NEAREST if k < num]:
        share = (ranks <= k).double().mean().item()
        beside = [None if each is None else (each <= k).double().mean().item() for each in (shuffled, real)]
        spread, chance = interval(share, num_sounds), k / num
        found.append(metric("retrieval_recall", share, spread, chance, *beside, variant=f"{what} {k}", k=k, **told))
    return found


def retrieve_classes(
    made: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor, num_sounds: int, seed: int
) -> list[Metric]:
    """Each painted picture looks for the one of its class among real pictures, one of every class, drawn for it alone.

    made: features (n, D). labels: (n,) heard. real, real_labels: (m, D), (m,) of held-out pictures. Nothing where fewer
    than two classes are there.
    """
    classes = real_labels.unique()
    if len(classes) < 2:
        return []
    generator = seeding.generator(seed, "galleries")
    of_class = [(real_labels == label).nonzero().flatten() for label in classes.tolist()]
    galleries = torch.stack(
        [own[torch.randint(len(own), (len(made),), generator=generator)] for own in of_class], dim=1
    )  # (n, classes)
    right = torch.searchsorted(classes, labels)
    # Another real picture of the class, where there is one, looks through the same gallery.
    own = galleries.gather(1, right[:, None]).flatten()
    others = torch.tensor(
        [_other(of_class[place], int(taken), generator) for place, taken in zip(right.tolist(), own, strict=True)]
    )
    queries = (made, made[shuffled(len(made), seed)], real[others.clamp(min=0)])
    ranks, wrong, ceiling = (rank(each, real[galleries], right) for each in queries)
    ceiling = ceiling[others >= 0]
    return retrieval_metrics("the class", len(classes), ranks, wrong, ceiling if len(ceiling) else None, num_sounds)


def retrieve_own(made: Tensor, conditions: EvalConditions, real: Tensor, seed: int) -> list[Metric]:
    """Each painted picture (n, D) looks for the real one (m, D) of its sound; nothing where nothing is so paired."""
    pairs = conditions.samples.pairs
    if pairs is None:
        return []
    own = {sound: picture for picture, sound in pairs.flip(0).tolist()}
    first: dict[int, int] = {}
    for row, sound in enumerate(conditions.sounds.tolist()):
        if sound in own and own[sound] not in first.values():
            first[row] = own[sound]
    rows, places = list(first)[:LARGEST], list(first.values())[:LARGEST]
    if len(rows) < 2:
        return []
    gallery, right = real[places].expand(len(rows), -1, -1), torch.arange(len(rows))
    queries = (made[rows], made[rows][shuffled(len(rows), seed)])
    ranks, wrong = (rank(each, gallery, right) for each in queries)
    return retrieval_metrics("its own picture", len(rows), ranks, wrong, None, conditions.num_sounds)


def rank(queries: Tensor, galleries: Tensor, right: Tensor) -> Tensor:
    """The rank (n,), 1 the best, of picture `right` (n,) in galleries (n, G, D) by its cosine to queries (n, D).

    Pictures that are as alike share the mean of their ranks, so that pictures which are all one rank as by chance.
    """
    likeness = F.cosine_similarity(queries[:, None], galleries, dim=-1)  # (n, G)
    return torch.from_numpy(rankdata(-likeness, axis=1)).float().gather(1, right[:, None]).flatten()


def _other(places: Tensor, taken: int, generator: torch.Generator) -> int:
    left = places[places != taken]
    return int(left[torch.randint(len(left), (), generator=generator)]) if len(left) else -1


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
    hear = partial(clap_scores, sample_rate=sample_rate)
    for model, what, scores in ((clip, "pictures", clip_scores), (clap, "sounds", hear)):
        if hub.local_weights(model) is None:
            notes.append(f"{model} is not on this machine, so {what} are not evaluated by it")
            continue
        progress(f"{what} by {model}", 0, 1)
        found += scores(model, answers, class_names)
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
    other, best = labels[shuffled(len(labels), answers.seed)], likeness.argmax(dim=1)
    own, wrong = (likeness.gather(1, x[:, None]).flatten() for x in (labels, other))
    right, own_real = None, None
    if real is not None:
        right, own_real = accuracy(labels, real.argmax(dim=1)), real.gather(1, labels[:, None]).mean().item()
    told: dict[str, Any] = {"variant": name.partition(",")[0], "model": name, "num": len(labels)}
    cosine = own.mean().item(), interval_of_mean(own), likeness.mean().item(), wrong.mean().item(), own_real
    beside, num = (answers.chance, other, right), answers.conditions.num_sounds
    return [
        accuracy_metric("class_accuracy_zero_shot", labels, best, *beside, independent=num, **told),
        metric("class_cosine_zero_shot", *cosine, **told),
    ]


@torch.no_grad()
def read_clap_texts(model: str, texts: Sequence[str]) -> Tensor:
    """CLAP's vectors (n, E) of texts, of length 1."""
    # Imported here: most evaluations read through no CLAP.
    from transformers import AutoTokenizer, ClapTextModelWithProjection

    folder: Any = hub.local_weights(model)
    with one_line(model, "a CLAP"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
    network = read_network(ClapTextModelWithProjection, model, folder, "a CLAP")
    return F.normalize(network(**tokens).text_embeds.float(), dim=-1)
