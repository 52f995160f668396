"""A model that hears, trained stage by stage: what each moves, what it leaves alone, and what it keeps."""

from __future__ import annotations

import shutil

import pytest
import torch
from hearing_runs import LORA, STAGES, TOKENS, TRAINED, hearing_data, hearing_recipe, published_recipe
from runs import StoppedError, assert_same, metrics, stop_after
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from conditioning.claps import write_clap
from denoisers.tiny_diffusion import write_stable_diffusion
from paired_files import write_classes
from synesthete import tasks
from synesthete.cli.app import app
from synesthete.conditioning.frozen_sound import Clap
from synesthete.config import Recipe, build
from synesthete.objectives import Alignment, Denoising
from synesthete.pipeline import Pipeline
from synesthete.recipes.fit import check_fit
from synesthete.training import loop
from synesthete.training.assembly import base_names, load_state, make_parts
from synesthete.training.cost import predict_memory
from synesthete.training.optim import groups_of, select_captions
from synesthete.training.trainer import StageTrainer
from synesthete.types import InputError, Prepared


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("hearing")


@pytest.fixture(scope="module")
def data(place):
    return hearing_data(place)


@pytest.fixture(scope="module")
def trained(place, data):
    """All five stages, in one go."""
    loop.train_recipe(hearing_recipe(place), data, place / "run")
    return place / "run"


def begun(place, data, stage: str) -> StageTrainer:
    recipe = hearing_recipe(place)
    chosen = next(one for one in recipe.stages if one.name == stage)
    return StageTrainer(recipe, chosen, data, place / "none", place / "none", lambda: make_parts(recipe, data))


def stepped(run: StageTrainer, num: int = 2) -> StageTrainer:
    steps, batches = run._batches(run._samples())
    run.model.train()
    for _ in range(num):
        run.optimise(batches, steps)
        run.step += 1
    return run


def by_group(parts) -> dict[str, list[torch.nn.Parameter]]:
    return {f"{p}.{g}": own for p, module in parts.modules().items() for g, own in groups_of(module).items()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_moves_its_groups_and_nothing_else(place, data, stage):
    """Frozen is: no gradient asked for or made, nothing in the optimiser, no average, not a bit changed."""
    run = begun(place, data, stage)
    groups = by_group(run.parts)
    free = {id(p) for name in TRAINED[stage] for p in groups[name]}
    held = {n: p for n, p in run.model.named_parameters() if n.startswith(("codec.", "conditioner.", "denoiser."))}
    own = {id(p) for n, p in run.model.named_parameters() if n not in held}  # of an alignment
    before = {name: p.detach().clone() for name, p in held.items()}
    stepped(run)
    for name, p in held.items():
        assert p.requires_grad == (id(p) in free)
        if id(p) not in free:
            assert p.grad is None
            assert torch.equal(p, before[name]), name
    moved = [name for name, p in held.items() if not torch.equal(p, before[name])]
    assert moved
    in_optimiser = {id(p) for group in run.optimiser.optimizer.param_groups for p in group["params"]}
    assert in_optimiser == free | own
    assert {id(p) for p in run.optimiser.optimizer.state} <= free | own
    assert {id(p) for p in run.trained.values()} == free | own


@pytest.mark.parametrize("stage", STAGES[2:])
def test_every_parameter_of_a_later_stage_learns(place, data, stage):
    """LoRA's first half waits for its second and a gated attention for its gate: some steps make both move."""
    run = begun(place, data, stage)
    groups = by_group(run.parts)
    free = [p for name in TRAINED[stage] for p in groups[name]]
    before = [p.detach().clone() for p in free]
    stepped(run, 4)
    assert not [p.shape for p, old in zip(free, before, strict=True) if torch.equal(p, old)]


def test_an_alignment_computes_neither_base_nor_text(place, data):
    run = begun(place, data, "align")

    def refuse(*_, **__):
        raise AssertionError("computed")

    run.parts.denoiser.forward = run.parts.conditioner.encode = run.parts.conditioner.text_encoder.forward = refuse
    run.parts.conditioner.text_encoder.read = refuse
    stepped(run)
    assert not isinstance(run.model, Denoising)


def test_an_alignment_learns_which_sounds_go_with_which_pictures():
    """Three classes that either side tells apart easily; then a picture's nearest sound is of its class."""
    from synesthete.conditioning.audio_text import SoundAndText
    from synesthete.objectives import Parts
    from synesthete.types import Batch

    class Ear(torch.nn.Module):
        has_fixed_features, embedding_width, reads = False, 4, "audio_text"

        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 4)

        def embed_audio(self, raw, generator=None):
            return self.linear(raw.sound)

    class Squares(torch.nn.Module):
        shape = (1, 8, 8)

    torch.manual_seed(0)
    objective = Alignment(hidden=16).attach(Parts(Squares(), Ear(), torch.nn.Identity(), None))
    label = torch.arange(12) % 3
    x_0 = torch.nn.functional.one_hot(label, 8).float()[:, None, :, None].expand(-1, 1, 8, 8).contiguous()
    raw = SoundAndText(sound=torch.nn.functional.one_hot(label, 3).float() + 0.1 * torch.randn(12, 3))
    batch = Batch(signal=x_0, raw=raw, label=label, encoded=True)
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        found = objective(batch, torch.Generator())
        optimiser.zero_grad()
        found["loss"].backward()
        optimiser.step()
        losses.append(found["loss"].item())
    assert found["retrieval"] == 1
    assert losses[-1] < 0.8 * losses[0]
    assert objective.log_temperature.grad.abs() > 0


def test_what_a_stage_takes_is_reckoned_from_its_groups(place, data):
    """What is frozen has no moments and no average."""
    recipe = hearing_recipe(place)
    chosen = next(one for one in recipe.stages if one.name == LORA)
    found = predict_memory(recipe, chosen, 4, tasks.task_of(recipe).dummy_batch)
    run = begun(place, data, LORA)
    numbers = [p.numel() for p in run.trained.values()]
    assert found.ema == 4 * sum(numbers)
    assert found.optimiser == 2 * found.ema + 4 * len(numbers)


def test_stages_are_chosen_on_the_command_line(trained, place, data, tmp_path):
    """`--stages`, from a model; a stage that there is not is said."""
    (tmp_path / "recipe.yaml").write_text(hearing_recipe(place).to_yaml())
    command = [
        "train",
        str(tmp_path / "recipe.yaml"),
        "--no-classifier",
        "--no-watch",
        "--data",
        str(place / "prepared"),
    ]
    said = CliRunner().invoke(app, [*command, "--stages", "tokens,lara", "--out", str(tmp_path / "none")])
    assert "no stage 'lara'; did you mean 'lora'" in str(said.exception)
    start = str(trained / "after-tokens")
    done = CliRunner().invoke(
        app, [*command, "--stages", "gates, lora", "--from", start, "--out", str(tmp_path / "run")]
    )
    assert done.exit_code == 0, done.output
    assert [stage.name for stage in Recipe.load(tmp_path / "run" / "recipe.yaml").stages] == ["lora", "gates"]
    assert_same_model(tmp_path / "run" / "after-lora", trained / "after-lora")
    assert_same_model(tmp_path / "run" / "model", trained / "model")


def assert_same_model(folder, other):
    for path in other.rglob("*.safetensors"):
        ours, theirs = load_file(folder / path.relative_to(other)), load_file(path)
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_frozen_encoder_cannot_be_aligned(place):
    recipe = hearing_recipe(place)
    recipe.conditioner.sound = build(Clap, model="laion/clap-htsat-unfused", sample_rate=4000)
    with pytest.raises(InputError, match=r"stage align trains 'conditioner.encoder'; did you mean"):
        check_fit(recipe)
    parts = make_parts(hearing_recipe(place), hearing_data_of(recipe))
    type(parts.conditioner.audio_encoder).is_frozen = True
    try:
        with pytest.raises(InputError, match="nothing to learn"):
            Alignment().attach(parts)
    finally:
        type(parts.conditioner.audio_encoder).is_frozen = False


def hearing_data_of(recipe):
    return Prepared(None, None, recipe.codec().state_dict(), ())


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("stages.lora.train=[denoiser.lore]", "did you mean 'denoiser.lora'"),
        ("stages.lora.train=[codec.base]", "it has codec|did you mean 'codec'"),
        ("stages.lora.train=[denosier]", "did you mean 'denoiser'"),
        ("stages.lora.captions=['a house']", "'a house' is not among data.captions"),
        ("stages.base.objective.sound_dropout=1.5", "sound_dropout"),
    ],
)
def test_what_a_stage_cannot_train_or_tell_is_refused_in_one_line(place, assignment, said):
    with pytest.raises(InputError, match=said) as caught:
        check_fit(hearing_recipe(place, assignment))
    assert "\n" not in str(caught.value)


def test_a_stage_tells_its_own_captions(data):
    told = select_captions(data, ("a {class}",))
    batch = told.train.batch(torch.arange(len(told.train)), torch.Generator().manual_seed(0))
    read = {told.train.texts_read[i] for i in told.train.captions.flatten().tolist()}
    assert read == {"a cat", "a dog"}
    known = {
        tuple(ids) for text, ids in zip(data.train.texts_read, data.train.texts.tolist(), strict=True) if text in read
    }
    assert set(map(tuple, batch.raw.text.tolist())) == known
    assert select_captions(data, None) is data
    with pytest.raises(InputError, match=r"not among data\.captions"):
        select_captions(data, ("a house",))


def test_a_stage_that_is_never_told_a_sound_computes_none(place, data):
    run = begun(place, data, "base")
    run.parts.conditioner.audio_encoder.embed = None
    run.parts.conditioner.to_tokens.forward = None
    stepped(run)


def test_class_weights_weigh_the_loss(place, data):
    recipe = hearing_recipe(place, "stages.base.objective.class_weights=true")
    run = StageTrainer(recipe, recipe.stages[0], data, place, place / "none", lambda: make_parts(recipe, data))
    assert torch.equal(run.model.weights, data.train.class_weights())
    run.model.weights = torch.tensor([0.0, 2.0])
    batch = data.train.batch(torch.arange(len(data.train)), torch.Generator().manual_seed(0))
    found = run.model(batch, torch.Generator().manual_seed(0))
    expected = 2 * found["per_sample"][batch.label == 1].sum() / len(batch.label)
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_every_denoising_stages_end_is_kept(trained, place):
    assert sorted(p.name for p in trained.glob("after-*")) == [
        "after-base",
        "after-gates",
        "after-lora",
        "after-tokens",
    ]
    ends = {name: Pipeline.load(str(trained / f"after-{name}")) for name in ("base", "tokens", "lora", "gates")}
    last = Pipeline.load(str(trained))
    for name, value in last.denoiser.state_dict().items():
        assert torch.equal(ends["gates"].denoiser.state_dict()[name], value)
        if ".lora_" not in name and ".processor." not in name:
            assert torch.equal(ends["base"].denoiser.state_dict()[name], value)
    lora = [n for n in last.denoiser.state_dict() if ".lora_B" in n]
    assert lora
    for name in lora:
        assert not ends["tokens"].denoiser.state_dict()[name].any()
        assert ends["lora"].denoiser.state_dict()[name].any()
    assert not any(ends["lora"].denoiser.gates.values())
    assert any(ends["gates"].denoiser.gates.values())


def test_the_log_tells_what_the_sound_is_worth(trained):
    looks = [line for line in metrics(trained) if "held_out_loss" in line]
    assert [line["stage"] for line in looks] == ["base", "tokens", "lora", "gates"]
    assert "held_out_loss_no_sound" not in looks[0]
    for line in looks[1:]:
        assert {f"held_out_loss_{name}" for name in ("no_sound", "other_sound", "no_text")} <= line.keys()


def test_a_run_stopped_anywhere_goes_on_to_the_bit(trained, place, data, tmp_path):
    for stop in (("align", 2), (TOKENS, 2), (LORA, 3)):
        with pytest.raises(StoppedError):
            loop.train_recipe(hearing_recipe(place), data, tmp_path / "run", report=stop_after(*stop))
    loop.train_recipe(hearing_recipe(place), data, tmp_path / "run")
    assert_same(tmp_path / "run", trained)


def test_weights_of_a_base_are_missing_from_no_checkpoint_that_does_not_leave_them_out(place, data):
    parts = make_parts(hearing_recipe(place), data)
    state = {f"{name}.{key}": v for name, part in parts.modules().items() for key, v in part.state_dict().items()}
    names = base_names(parts)
    cut = {name: value for name, value in state.items() if name != min(names)}
    with pytest.raises(RuntimeError, match="Missing key"):
        load_state(parts, cut)
    load_state(parts, cut, names)
    with pytest.raises(RuntimeError, match="Missing key"):
        load_state(parts, {k: v for k, v in state.items() if ".lora_" not in k}, names)


def test_an_end_that_was_removed_is_written_again(trained, place, data, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "after-tokens")
    shutil.rmtree(tmp_path / "run" / "model")
    loop.train_recipe(hearing_recipe(place), data, tmp_path / "run")
    assert_same(tmp_path / "run", trained)


def test_of_a_published_base_the_adapters_are_kept(place, tmp_path):
    """Beside the model, and after each stage instead of one; each makes what the whole model makes.

    Checkpoints leave the base out; a run goes on from one to the bit, and beside another base it does not.
    """
    write_classes(tmp_path / "in")
    base, clap = write_stable_diffusion(tmp_path / "base"), write_clap(tmp_path / "clap")
    recipe = published_recipe(tmp_path / "in", base, clap)
    check_fit(recipe)
    data = tasks.prepare(recipe, tmp_path / "prepared")
    loop.train_recipe(recipe, data, tmp_path / "run")
    whole = Pipeline.load(str(tmp_path / "run"))
    for path in (tmp_path / "run").glob("checkpoints/*/*/model.safetensors"):
        kept = {name.removeprefix("denoiser.") for name in load_file(path) if name.startswith("denoiser.")}
        assert kept == {name for name in whole.denoiser.state_dict() if ".lora_" in name or ".processor." in name}
    for stop in ("tokens", "lora"):
        with pytest.raises(StoppedError):
            loop.train_recipe(recipe, data, tmp_path / "again", report=stop_after(stop, 1))
    file = base / "unet" / "diffusion_pytorch_model.safetensors"
    content = file.read_bytes()
    save_file({name: value + 1 for name, value in load_file(file).items()}, file)
    with pytest.raises(InputError, match="another base"):
        loop.train_recipe(recipe, data, tmp_path / "again")
    file.write_bytes(content)
    loop.train_recipe(recipe, data, tmp_path / "again")
    assert_same(tmp_path / "again", tmp_path / "run")
    for folder, same in (("model/adapters", True), ("after-lora", True), ("after-tokens", False)):
        place = tmp_path / "run" / folder
        assert (place / "adapters.json").is_file()
        assert not (place / "model_index.json").is_file()
        adapted = Pipeline.load(str(place))
        equal = [
            torch.equal(value, adapted.denoiser.state_dict()[name])
            for name, value in whole.denoiser.state_dict().items()
            if ".lora_" in name
        ]
        assert all(equal) == same
        assert all(
            torch.equal(value, adapted.denoiser.state_dict()[name])
            for name, value in whole.denoiser.state_dict().items()
            if ".lora_" not in name
        )
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    command = [
        "train",
        str(tmp_path / "recipe.yaml"),
        "--no-classifier",
        "--no-watch",
        "--data",
        str(tmp_path / "prepared"),
    ]
    command += ["--stages", "lora", "--from", str(tmp_path / "run" / "after-tokens"), "--out", str(tmp_path / "alone")]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert_same_model(tmp_path / "alone" / "model" / "adapters", tmp_path / "run" / "after-lora")
    shutil.rmtree(tmp_path / "run" / "after-tokens")
    loop.train_recipe(recipe, data, tmp_path / "run")
    assert (tmp_path / "run" / "after-tokens" / "adapters.json").is_file()
    other = write_stable_diffusion(tmp_path / "other", seed=1)
    recipe.denoiser.model = str(other)
    for kept in (tmp_path / "run" / "model", tmp_path / "run" / "after-lora"):
        with pytest.raises(InputError, match=f"trained beside {base}, and the recipe's base {other} is another"):
            loop.train_recipe(recipe, data, tmp_path / "wrong", start=kept)
