"""What kind of system a recipe or a model is: the one object that says so, and the table of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from synesthete import hub
from synesthete.io import is_address, locked, read_json, tab_separated
from synesthete.types import InputError, Prepared, Progress

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from synesthete.config import Recipe, Stage
    from synesthete.evaluation.reporting.report import Report
    from synesthete.evaluation.runner import Evaluator
    from synesthete.evaluation.samples import Generated, References
    from synesthete.evaluation.search.scoring import ScoringBasis
    from synesthete.pipeline import Pipeline
    from synesthete.tasks.sampling import Plan, SampleRequest

CHOICE = "choice"
# One line for each field of a request and each sampling setting.
HELP: dict[str, str] = dict(tab_separated(Path(__file__).with_name("help.tsv")))
# What the sections of their reports say, by names of their own.
SECTIONS: dict[str, str] = dict(tab_separated(Path(__file__).with_name("sections.tsv")))


class Task:
    """A kind of system. A new one is a subclass with these methods, made known by `register`; nothing else knows it.

    Training and evaluation are handed the task and ask it; the command line finds it by the recipe's or the model's
    `task`.

    Attributes:
        name: as recipes and models name it. verb: of the command that samples, whose default is `shipped_model`. makes:
            what comes out, as in "a model of speech". request_type: what it can be asked for, whose fields are options
            of the command line. plan_type: what a request comes to. input_types, input_words: what `request_for` takes
            for the inputs of a request, in Python and in words. num_evaluated: samples that an evaluation makes
            unless told. evaluation_options: those that `evaluate` takes beside those of every task. is_scorable:
            whether `sweep` and `tune` can score what is made of a class alone. evaluator_type, saved_classifier: what
            evaluates a model, and what `train_classifier` saves, "" for nothing: MODULE:CLASS, imported when needed.
        form: how a page asks for a field of the request or a sampling setting that is no plain text, number or switch:
            the kind of a file ("picture", "sound", "score"), CHOICE of what `choices` gives, a slider (low, high,
            start), which says nothing while it stands at its start, or None where it does not ask.
    """

    name: str
    verb: str
    makes: str
    shipped_model: str = ""
    request_type: ClassVar[type[SampleRequest]]
    plan_type: ClassVar[type[Plan]]
    input_types: ClassVar[tuple[type, ...]] = (str, Path)
    input_words: str = "a path, a PIL image, or a list of them"
    num_evaluated: int = 500
    evaluation_options: tuple[str, ...] = ()
    is_scorable: bool = False
    evaluator_type: str = "synesthete.evaluation.runner:Evaluator"
    saved_classifier: str = ""
    form: ClassVar[Mapping[str, str | tuple[float, float, float] | None]] = {"labels": CHOICE}

    def prepare(self, recipe: Recipe, folder: Path | str | None = None, progress: Progress | None = None) -> Prepared:
        """Read, fit and encode all of a recipe's data, and measure the codec on it; what is there already is kept.

        folder: for what is made; `default_folder` where None. An address: of what was prepared and put there, which
        nothing is added to. progress is called after every shard.

        Raises:
            InputError: whatever is wrong with the data, in one line.
        """
        import torch  # which naming tasks does without

        from synesthete import seeding

        if isinstance(folder, str) and is_address(folder):
            from synesthete.tasks.preparation import read_prepared

            return read_prepared(recipe, folder)
        folder = Path(folder) if folder else self.default_folder(recipe)
        with locked(folder, wait=True), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeding.derive(0, "prepare"))  # of an autoencoder for trials the weights are drawn
            return self.gather(recipe, folder, progress or (lambda *_: None))

    def gather(self, recipe: Recipe, folder: Path, progress: Progress) -> Prepared:
        """As `prepare`, which calls it, and for one process at a time."""
        raise NotImplementedError

    def default_folder(self, recipe: Recipe) -> Path:
        """A folder of the cache for this recipe's data."""
        raise NotImplementedError

    def describe_prepared(self, prepared: Prepared) -> tuple[dict[str, Any], str]:
        """How much there is of what, as values and as a line for people."""
        raise NotImplementedError

    def dummy_batch(self, recipe: Recipe, stage: Stage, num: int) -> Any:
        """`num` made-up samples as a stage would see them, to try a training step without data."""
        raise NotImplementedError

    def thumbnails(self, pipeline: Pipeline, x_0: Tensor) -> list[Image.Image]:
        """A picture of each x_0 (n, C, H, W): of sound, its spectrogram."""
        return pipeline.codec.pictures(x_0, scale=1)

    def train_classifier(
        self, recipe: Recipe, prepared: Prepared, model: Path, *, data: Path | None = None, progress: Any = None
    ) -> None:
        """Train the classifier that tells what a sample is, on data the model never saw, and save it beside the model.

        One that is there is kept. model: the model's folder. data: as the `folder` of `prepare`.

        Raises:
            InputError: no data for one, or a folder that cannot be written.
        """
        from synesthete.evaluation.classifiers.classifier import FOLDER, save_classifier

        if (model / FOLDER).is_dir():
            return
        kind = self.classifier_type()
        if kind is None:
            raise InputError(f"a model of {self.makes} has no classifier")
        few = kind.training_settings.few(sum(stage.num_steps for stage in recipe.stages))
        trained, test, labels = self.fit_classifier(recipe, prepared, data, num_steps=few, progress=progress)
        save_classifier(trained, model, test, labels)

    def classifier_type(self) -> type[Any] | None:
        """What `train_classifier` saves; None where there is no such thing."""
        return pkgutil.resolve_name(self.saved_classifier) if self.saved_classifier else None

    def fit_classifier(
        self, recipe: Recipe, prepared: Prepared, data: Path | None, **options: Any
    ) -> tuple[Any, Any, Tensor]:
        """For `train_classifier`: one that learned from other data than the model, and samples to measure it on."""
        raise NotImplementedError

    def load_classifier(self, model: Path) -> Any | None:
        """The classifier in a model's folder, or None where there is none."""
        from synesthete.evaluation.classifiers.classifier import load_classifier

        kind = self.classifier_type()
        return None if kind is None else load_classifier(model, kind)

    def generate(self, pipeline: Pipeline, prepared: Prepared, *, num: int, seed: int, progress: Progress) -> Generated:
        """`num` samples on fixed noise, to be evaluated, and the classes that were asked for.

        One of conditions drawn from `prepared.test` is made by `evaluation.samples.generate_timed`.
        """
        raise NotImplementedError

    def references(self, pipeline: Pipeline, prepared: Prepared, *, num: int, seed: int) -> References:
        """At most `num` real held-out samples to compare with, other real ones, and what is as bad as chance."""
        raise NotImplementedError

    def evaluator(
        self, pipeline: Pipeline, prepared: Prepared, recipe: Recipe, model: str, **options: Any
    ) -> Evaluator:
        """What evaluates a model: by `generate`, `references` and `thumbnails` alone, unless a task knows more.

        model: its name or run folder. options: as `Evaluator`, and those of `evaluation_options`.
        """
        return pkgutil.resolve_name(self.evaluator_type)(pipeline, prepared, task=self, **options)

    def evaluation_data(self, recipe: Recipe, folder: Path | None, progress: Progress | None) -> Any:
        """What `evaluator` is given: what `prepare` makes, unless a task needs less."""
        return self.prepare(recipe, folder, progress)

    def evaluate(
        self,
        pipeline: Pipeline,
        recipe: Recipe,
        out: Path,
        *,
        model: str,
        folder: Path,
        data: Path | None = None,
        num: int | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Report:
        """Measure a model on what it never met and write the report to the folder `out`.

        model: how the report calls it. folder: of its files. data: as the `folder` of `prepare`. num: samples to make;
        `num_evaluated` where None. options: seed, and those of `evaluation_options`.

        Raises:
            InputError: data that do not fit the model, or too few.
        """
        found = self.evaluation_data(recipe, data, progress)
        options |= {"num": num or self.num_evaluated, "saved": self.load_classifier(folder), "progress": progress}
        return self.evaluator(pipeline, found, recipe, model, **options).evaluate(out, model=model)

    def check_scorable(self, features: str = "auto") -> None:
        """Make sure that ways of sampling can be scored, and by such features, before anything is prepared for it.

        Raises:
            InputError: they cannot, or there are no such features.
        """
        if not self.is_scorable:
            raise InputError(
                f"{self.name}: ways of sampling {self.makes} cannot be scored; its task is not `is_scorable`"
            )

    def scoring_basis(self, pipeline: Pipeline, prepared: Prepared, **options: Any) -> ScoringBasis:
        """What `sweep` and `tune` score ways of sampling by: `references`, told by their labels, and features of them.

        options: features, their name; saved, the classifier as `load_classifier` gives it; progress.
        """
        evaluator: Evaluator = pkgutil.resolve_name(self.evaluator_type)(pipeline, prepared, task=self, **options)
        return evaluator.scoring_basis

    def load(self, model: str, device: str = "cpu") -> Any:
        """The model by its name.

        Raises:
            InputError: no such model or device, or damaged files.
        """
        from synesthete.pipeline import Pipeline

        return Pipeline.load(model, device)

    def request_for(self, pipeline: Any, inputs: Sequence[Any]) -> dict[str, Any]:
        """The request's fields for the inputs that `synesthete.load(...)(inputs)` is called with.

        Raises:
            InputError: something else than the task reads: a path, and where it reads pictures a PIL image.
        """
        pictures = self.form.get("inputs", "picture") == "picture"
        for one in inputs:
            if not isinstance(one, self.input_types) and not (pictures and hasattr(one, "getbands")):  # as PIL images
                raise InputError(f"an input of type {type(one).__name__}; give {self.input_words}")
        return {"inputs": [Path(one) if isinstance(one, str) else one for one in inputs]}

    def choices(self, pipeline: Any) -> dict[str, Sequence[Any]]:
        """What a field of `form` can be with a loaded model: names, or a slider's (low, high); () is not asked for."""
        return {"labels": pipeline.class_names}

    def plan(self, pipeline: Any, request: Any, folder: Path | None = None) -> Plan:
        """What a request comes to with a loaded model. folder: of its files.

        Raises:
            InputError: what is asked for does not fit the model.
        """
        return self.plan_type(pipeline, request, folder)


# The tasks of this package and their verbs, known before anything is imported: importing the module `task` of one
# registers it, and asking for it costs nobody the others' libraries.
VERBS: dict[str, str] = {
    "image-to-speech": "speak",
    "images": "draw",
    "audio-to-image": "paint",
    "music": "play",
    "music-score": "play",
    "music-compose": "play",
}
_TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known by its name, from anywhere; it is returned.

    Raises:
        ValueError: another task has the name.
    """
    there = _TASKS.setdefault(task.name, task)
    if type(there) is not type(task):
        raise ValueError(f"there is a task {task.name!r} already: {type(there).__qualname__}")
    return there


def verb_of(name: str) -> str:
    """The command that samples a model of a task."""
    return VERBS[name] if name in VERBS else find_task(name).verb


def task_names() -> list[str]:
    """The names that are known."""
    return list(dict.fromkeys([*VERBS, *_TASKS]))


def find_task(name: str) -> Task:
    """A task by its name.

    Raises:
        InputError: no such task.
    """
    if name not in _TASKS and name in VERBS:
        importlib.import_module(f"synesthete.tasks.{name.replace('-', '_')}.task")
    if name not in _TASKS:
        raise InputError(f"no task {name!r}; there are {', '.join(task_names())}; import the module that registers it")
    return _TASKS[name]


def prepare(recipe: Recipe, folder: Path | str | None = None, progress: Progress | None = None) -> Prepared:
    """`Task.prepare` of the recipe's task."""
    return task_of(recipe).prepare(recipe, folder, progress)


def task_of(made: Any) -> Task:
    """The task that a recipe or a loaded model names.

    Raises:
        InputError: none, or one that nobody registered.
    """
    named = getattr(made, "task", None) or made.config.card.get("task")
    if named is None:
        raise InputError("the model does not name its task: it is of an earlier version; train it again")
    return find_task(named)


def model_folder(model: str) -> Path:
    """Where a model's files are, or its adapters; as `hub.find_model`, and without loading anything.

    Raises:
        InputError: no such model.
    """
    return hub.find_adapters(model) or hub.find_model(model)


def model_task_name(folder: Path) -> str:
    """The task that a model's folder names, read without loading anything."""
    adapters = not (folder / hub.MODEL_INDEX).is_file() and (folder / hub.ADAPTERS_INDEX).is_file()
    path = folder / (hub.ADAPTERS_INDEX if adapters else hub.MODEL_INDEX)
    try:
        index = dict(read_json(path))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path}: damaged; train or copy the model again") from None
    if index.get("_class_name") == "Cascade":  # two models of sound, the one before the other
        return "music"
    if not adapters and index.get("_class_name") != "Pipeline":
        raise InputError(f"{folder}: a {index.get('_class_name')}, not a Synesthete model; give another")
    told = index.get("pipeline") if adapters else index
    card = told.get("card") if isinstance(told, dict) else None
    if not isinstance(card, dict) or not card.get("task"):
        raise InputError(f"{folder}: does not name its task: it is of an earlier version; train it again")
    return str(card["task"])
