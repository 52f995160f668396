"""The task of sounds that paint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from synesthete.conditioning.audio_text import SoundAndText
from synesthete.config import Recipe, Stage, plain
from synesthete.data.audio_image_pairs import AudioImageSamples
from synesthete.data.captions import spell
from synesthete.io import digest
from synesthete.tasks.audio_to_image.preparation import prepare_pairs
from synesthete.tasks.audio_to_image.sampling import STRONGEST, PaintPlan, PaintRequest
from synesthete.tasks.images.task import Images
from synesthete.tasks.preparation import cached
from synesthete.tasks.task import Task, register

if TYPE_CHECKING:
    from synesthete.evaluation.runner import Evaluator
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared, Progress

SECONDS = 1.0  # of a made-up sound; an encoder cuts or pads it to what it hears


class AudioToImage(Images):
    """A sound and a text in, a picture out; its classifier is one of pictures."""

    name = "audio-to-image"
    verb = "paint"
    makes = "pictures of sounds"
    shipped_model = "audio-to-image-digits"
    request_type = PaintRequest
    plan_type = PaintPlan
    input_words = "the path of a sound, or several"
    form: ClassVar[Any] = {"inputs": "sound", "between": "sound", "adapter_scale": (0.0, STRONGEST, 1.0)}

    def gather(self, recipe: Recipe, folder: Path, progress: Progress) -> Prepared:
        """Pictures fitted and sounds decoded, and heard where the encoder is frozen."""
        return prepare_pairs(recipe, folder, progress)

    def default_folder(self, recipe: Recipe) -> Path:
        """Named by how the codec reads pictures."""
        return cached(f"pairs-{digest(plain(recipe.codec))}")

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """Pictures, sounds and speakers of each split."""
        values, told = {"classifier_pictures": len(prepared.classifier)}, {}
        for part in ("train", "test", "speakers"):
            if (pairs := getattr(prepared, part)) is None:
                continue
            values[f"{part}_pictures"], values[f"{part}_sounds"] = len(pairs.pictures), len(pairs.sounds)
            values[f"{part}_speakers"] = pairs.num_speakers
            known = f" of {pairs.num_speakers} speakers" if pairs.num_speakers else ""
            told[part] = f"{len(pairs.pictures)} pictures and {len(pairs.sounds)} sounds{known}"
        unheard = f"; {told['speakers']} that are in no other" if "speakers" in told else ""
        return values, (
            f"{told['train']} to train on, {values['classifier_pictures']} pictures for the classifier alone, "
            f"{told['test']} held out (no file in two of them){unheard}"
        )

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> AudioImageSamples:
        """Grey pictures with noise for sound, or for what a frozen encoder made of one; a caption of each template."""
        data, codec = recipe.data(), recipe.codec()
        grey = super().dummy_batch(recipe, stage, num)
        with torch.device("meta"):
            conditioner = recipe.conditioner()
        length = round((data.seconds or SECONDS) * conditioner.sample_rate)
        templates = () if isinstance(data.captions, str) else tuple(data.captions)
        read = [spell([template], data.class_names or ("thing",))[0] for template in templates] or [""]
        noise = torch.randint(-3000, 3000, (num, length), dtype=torch.int16)
        x_0 = torch.randn(num, 1, *codec.shape).half() if codec.caches_latents else None
        how: dict[str, Any] = {"augmentation": data.augmentation, "sample_rate": conditioner.sample_rate}
        how["heard"] = torch.randn(num, conditioner.embedding_width) if conditioner.has_fixed_features else None
        told = torch.arange(len(read)).expand(num, -1), conditioner.compose(prompts=read).text, tuple(read)
        shown = grey.pictures, grey.labels, noise, grey.labels, SoundAndText, x_0
        return AudioImageSamples(*shown, *told, **how, templates=templates)

    def choices(self, pipeline: Any) -> dict[str, Sequence[Any]]:
        """None of names; how much is heard only where it can be changed."""
        return {} if pipeline.denoiser.adapter_scale is not None else {"adapter_scale": (), "strengths": ()}

    def request_for(self, pipeline: Any, inputs: Sequence[Any]) -> dict[str, Any]:
        """Files of sound."""
        return Task.request_for(self, pipeline, inputs)

    def evaluator(
        self, pipeline: Pipeline, prepared: Prepared, recipe: Recipe, model: str, **options: Any
    ) -> Evaluator:
        """What it paints of held-out sounds, and at the end of each stage that its run keeps."""
        from synesthete.pipeline import Pipeline
        from synesthete.tasks.audio_to_image.evaluation import AudioToImageEvaluator, find_stages

        kept = find_stages(Path(model), recipe)
        stages = {name: partial(Pipeline.load, str(place), pipeline.device) for name, place in kept.items()}
        return AudioToImageEvaluator(pipeline, prepared, stages=stages, **options)


register(AudioToImage())
