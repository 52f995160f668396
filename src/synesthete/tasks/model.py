"""A model to be called from Python: `synesthete.load("image-to-speech-digits")("seven.png")`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.tasks.sampling import Plan, SampleRequest, generate_samples
from synesthete.tasks.task import Task, find_task, model_folder, model_task_name, task_of
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.config import Recipe
    from synesthete.evaluation.classifiers.speech import Prediction
    from synesthete.evaluation.search.scoring import Scorer

__all__ = ["Model"]

# What the commands call an option, where a request or a sampling setting has another name for it.
ALSO = {
    "steps": "num_inference_steps",
    "label": "labels",
    "prompt": "prompts",
    "loop": "is_loop",
    "continue": "goes_on",
    "gif": "is_gif",
    "corrections": "num_corrections",
    "resamplings": "num_resamplings",
}


class Model:
    """A loaded model with its task: call it with what it reads, and it returns what it makes.

    Attributes:
        name: it was loaded by. task: what kind of system it is. pipeline: the network and all around it, for more.
    """

    def __init__(self, name: str, task: Task, pipeline: Any, folder: Path) -> None:
        self.name, self.task, self.pipeline, self.folder = name, task, pipeline, folder

    def __call__(self, inputs: Any = None, *, num: int | None = None, seed: int = 0, **options: Any) -> Any:
        """What the model makes of the inputs: one result of one, a `Results` list of a list, or where `num` is given.

        inputs: a picture (path or PIL image), a sound's path, a label or a prompt; a list of them; None of a model that
            is told nothing. num: results of each input. options: what the command of its verb takes (`seconds=8`,
            `prompts=["in the snow"]`), and sampling settings (`num_inference_steps=20`, or `steps=20` as commands say).

        Raises:
            InputError: an input that cannot be used, or an unknown option.
        """
        options = {ALSO.get(name, name): value for name, value in options.items()}
        kind = self.task.request_type
        own = kind.own_fields()
        is_list = isinstance(inputs, list | tuple)
        given = [] if inputs is None else list(inputs) if is_list else [inputs]
        asked = {name: value for name, value in options.items() if name in own}
        asked |= {name: [asked[name]] for name in ("labels", "prompts") if isinstance(asked.get(name), str)}
        if given:
            asked |= self.task.request_for(self.pipeline, given)
        if "num" in own:
            asked["num"] = num or 1
        elif num is not None:
            raise InputError(f"{self.name}: a model of {self.task.makes} makes one of each input; leave out num")
        settings = {name: value for name, value in options.items() if name not in own}
        request = kind(model=self.name, seed=seed, settings=settings, **asked)
        request.check()
        made = generate_samples(self.plan(request))
        return made if is_list or num is not None or len(made) != 1 else made[0]

    def plan(self, request: SampleRequest) -> Plan:
        """What a request comes to.

        Raises:
            InputError: sampling settings that do not exist or do not fit, or a request that does not.
        """
        getattr(self.pipeline, "base", self.pipeline).sampling_settings(**request.settings)
        return self.task.plan(self.pipeline, request, self.folder)

    def __repr__(self) -> str:
        """One line."""
        return f"<{self.name}: a model of {self.task.makes}>"


def load(name: str, device: str = "cpu", engine: str = "torch") -> Model:
    """A model by its name, with the task that it is of.

    name: a run folder, a model folder, a Hub id, adapters, or a shipped model. device: as `Pipeline.load`. engine: what
        computes the denoiser, torch or onnx, which is onnxruntime on the CPU.

    Raises:
        InputError: no such model, device or engine, an engine that is not installed, or damaged files.
    """
    folder = model_folder(name)
    task = find_task(model_task_name(folder))
    if engine == "torch":
        return Model(name, task, task.load(name, device), folder)
    from synesthete.export.model import set_engine  # with the codecs' networks, which most models are not of

    pipeline = task.load(name, "cpu" if device == "auto" else device)
    set_engine(pipeline, engine)
    return Model(name, task, pipeline, folder)


def recipe_of(pipeline: Any, folder: Path, assignments: Sequence[str] | None = None) -> Recipe:
    """The recipe a model was made by: beside it, or the one of the package that its card names."""
    from synesthete.recipes import RECIPES, find_recipe

    named = str(pipeline.config.card.get("recipe"))
    if (folder / "recipe.yaml").is_file():
        named = str(folder)
    elif named not in RECIPES:
        raise InputError(f"{folder}: no recipe.yaml in it, so its data are unknown; copy the one of its run there")
    return find_recipe(named, assignments or ())


def seen_in(model: Model, pictures: Iterable[Image.Image]) -> list[Prediction]:
    """What the classifier beside a model takes pictures for, of its own size; nothing where there is none for them."""
    import numpy as np
    import torch

    from synesthete.evaluation.classifiers.image import ImageClassifier
    from synesthete.evaluation.classifiers.speech import recognise

    trained = model.task.load_classifier(model.folder)
    if trained is None or not isinstance(trained.classifier, ImageClassifier):
        return []
    config = trained.classifier.config
    mode = "L" if config.channels == 1 else "RGB"
    arrays = [np.atleast_3d(np.asarray(picture.convert(mode))) for picture in pictures]
    if any(array.shape[:2] != (config.size, config.size) for array in arrays):  # a strip
        return []
    return recognise(trained, torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))


def scorer_of(
    pipeline: Any, folder: Path, recipe: Recipe, progress: Progress, *, data: Path | None = None, features: str = "auto"
) -> Scorer:
    """What scores ways of sampling a model. folder: of the model. data: as the `folder` of `Task.prepare`."""
    from synesthete.evaluation.search.scoring import Scorer

    task = task_of(recipe)
    prepared, saved = task.prepare(recipe, data, progress), task.load_classifier(folder)
    return Scorer(pipeline, task.scoring_basis(pipeline, prepared, features=features, saved=saved, progress=progress))
