"""The judge that is kept with a model, so that whoever lets it speak is told what it most likely said."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from synesthete.codecs.mel import MelCodec
from synesthete.evaluation.judge_folder import RESULT_NAME, check_kind, write_judge
from synesthete.evaluation.metrics.intervals import interval
from synesthete.evaluation.metrics.metric import Metric
from synesthete.evaluation.speech.judges import NUM_STEPS, MelJudge, load_or_train_judge, log_mels
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from synesthete.data.image_speech_pairs import ImageSpeechPairs
    from synesthete.data.speech.clips import Clips
    from synesthete.types import AudioSpec

    Progress = Callable[[str, int, int], None]

FOLDER = "judge"


@dataclass(frozen=True)
class Verdict:
    """What a sound most likely says and how sure the judge is, 0 to 1, and what comes next; None for one class."""

    says: str
    confidence: float
    next_says: str | None = None
    next_confidence: float = 0.0

    def __str__(self) -> str:
        """One line: says 'seven' (judge 0.97; next 'one' 0.02)."""
        after = f"; next {self.next_says!r} {self.next_confidence:.2f}" if self.next_says is not None else ""
        return f"says {self.says!r} (judge {self.confidence:.2f}{after})"


@dataclass(frozen=True)
class ModelJudge:
    """A judge beside a model. It never heard the model, nor the voices the model learned from.

    accuracy: on `num_test` real clips of `num_voices` voices that neither heard. words: what is said for each class,
    one phrase or several.
    """

    judge: MelJudge
    accuracy: float
    num_test: int
    num_voices: int
    words: tuple[tuple[str, ...], ...]

    def hear(self, waveforms: Tensor) -> list[Verdict]:
        """What each sound (n, S) in [-1, 1] says: the phrase of its class, or the class' name if it has several."""
        spec = self.judge.spec
        codec = MelCodec(waveforms.shape[-1], spec.sample_rate, spec.n_fft, spec.hop_length, spec.n_mels)
        log_mel = codec.log_mel(waveforms.float().cpu()).unsqueeze(1)
        names = [own[0] if len(own) == 1 else name for own, name in zip(self.words, self._class_names, strict=True)]
        shares, places = self.judge.shares(log_mel).topk(min(2, len(names)), dim=1)
        found = []
        for share, place in zip(shares.tolist(), places.tolist(), strict=True):
            after = (names[place[1]], share[1]) if len(place) > 1 else ()
            found.append(Verdict(names[place[0]], share[0], *after))
        return found

    @property
    def _class_names(self) -> list[str]:
        return list(self.judge.config.class_names)

    def metric(self, real: Clips) -> Metric:
        """Its accuracy on real clips, measured now."""
        right = self.judge.judge(log_mels(real.waveforms, self.judge.spec)) == real.labels
        share, num = right.float().mean().item(), len(real)
        name = f"accuracy of the judge kept with the model (real clips of {len(set(real.speakers))} unheard voices"
        return Metric(f"{name}, n = {num})", share, interval(share, num), 1 / len(self._class_names))


def keep_judge(
    data: ImageSpeechPairs,
    corpus_folder: Path,
    model: Path,
    spec: AudioSpec,
    *,
    num_steps: int = NUM_STEPS,
    progress: Progress | None = None,
) -> ModelJudge:
    """Train a judge on the voices that no model hears, and write it into the model's folder, in half precision.

    corpus_folder: where `data.build` spoke the corpus. spec: of the model's log-mels. A judge that was trained on the
    same clips is taken from the cache.

    Raises:
        InputError: a corpus without those voices, or a folder that cannot be written.
    """
    judge_clips, real = data.clips(corpus_folder, "judge"), data.clips(corpus_folder, "test")
    trained = load_or_train_judge(judge_clips, real, spec=spec, num_steps=num_steps, progress=progress)
    half = nn.Module.to(copy.deepcopy(trained.judge), torch.float16)
    rounded = nn.Module.to(copy.deepcopy(half), torch.float32)
    right = rounded.judge(log_mels(real.waveforms, spec)) == real.labels
    words = tuple(_several(data.words.get(name, name)) for name in data.class_names)
    result: dict[str, Any] = {
        "accuracy": right.float().mean().item(),
        "num_test": len(real),
        "num_voices": len(set(real.speakers)),
        "words": words,
    }
    write_judge(half, result, model / FOLDER)
    return ModelJudge(rounded, **result)


def read_judge(model: Path) -> ModelJudge | None:
    """The judge in a model's folder, or None where there is none.

    Raises:
        InputError: damaged files, or a judge of pictures.
    """
    folder = model / FOLDER
    if not (folder / RESULT_NAME).is_file():
        return None
    check_kind(folder, MelJudge, "speech")
    try:
        result = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
        words = tuple(map(tuple, result.pop("words")))
        judge = nn.Module.to(MelJudge.from_pretrained(folder), torch.float32).eval()
        return ModelJudge(judge, words=words, **result)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder}: cannot be loaded ({reason}); remove it and train the model's run again") from None


def _several(phrases: Any) -> tuple[str, ...]:
    return (phrases,) if isinstance(phrases, str) else tuple(phrases)
