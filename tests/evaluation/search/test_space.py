"""What a sweep tries: every combination that means something, and one line for what does not."""

from __future__ import annotations

import pytest

from synesthete.conditioning.labels import Unconditional
from synesthete.config import build
from synesthete.evaluation.search.space import Cell, ScheduleAdapter, find_labels, plan_sweep
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline, tiny_recipe


@pytest.fixture(scope="module")
def model(cache):
    return tiny_pipeline()


def test_without_values_the_models_own_settings_are_tried(model):
    own = model.sampling_settings()
    [cell] = plan_sweep(model).cells
    assert cell.settings() == {name: own[name] for name in cell.settings()}
    assert cell.schedule == model.process.schedule
    assert cell.trained


def test_every_combination_is_tried_once(model):
    found = plan_sweep(model, samplers=["ddim", "ddim"], guidance=[0, 1.5, 3], etas=[0, 1], steps=[2, 4])
    assert len(found.cells) == len(set(found.cells)) == 12
    assert found.notes == ()


def test_a_sampler_without_eta_is_made_once_and_that_is_said_once(model):
    found = plan_sweep(model, samplers=["ddim", "dpmsolver++"], guidance=[1, 3], etas=[0, 0.5, 1])
    by_sampler = [cell.sampler for cell in found.cells]
    assert by_sampler.count("ddim") == 6
    assert by_sampler.count("dpmsolver++") == 2
    [note] = found.notes
    assert "dpmsolver++" in note
    assert "eta 0.5, 1 left out" in note


def test_a_sampler_of_another_kind_is_left_out_where_it_cannot_walk(model):
    found = plan_sweep(model, schedules=["cosine", "flow"], samplers=["ddim", "flow-euler"], untrained=True)
    assert [(cell.schedule, cell.sampler) for cell in found.cells] == [("cosine", "ddim"), ("flow", "flow-euler")]
    assert len(found.notes) == 2
    with pytest.raises(InputError, match="cannot walk a 'flow' schedule; choose from flow-euler"):
        plan_sweep(model, schedules=["cosine", "flow"], samplers=["ddim"], untrained=True)


def test_a_schedule_the_model_was_not_trained_with_is_refused_or_marked(model):
    with pytest.raises(InputError, match=r"trained with 'cosine'.*--untrained-schedules"):
        plan_sweep(model, schedules=["cosine", "linear"])
    found = plan_sweep(model, schedules=["cosine", "linear"], samplers=["ddim"], untrained=True)
    own, other = found.cells
    assert (own.trained, other.trained) == (True, False)
    assert "not-trained-with" in other.stem
    assert "(not trained with)" in other.title
    assert found.pipelines["cosine"] is model
    assert isinstance(found.pipelines["linear"], ScheduleAdapter)


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        ({"schedules": ["cosin"]}, ("scheduler 'cosin'", "choose from cosine")),
        ({"schedules": ["ddim"]}, ("scheduler 'ddim'", "--samplers")),
        ({"samplers": ["dpm++"]}, ("sampler 'dpm++'", "dpmsolver++")),
        ({"samplers": ["linear"]}, ("sampler 'linear'", "--schedulers")),
        ({"samplers": ["xyzzy"]}, ("sampler 'xyzzy'", "ddim", "flow-euler")),
        ({"etas": [2]}, ("eta 2", "0")),
        ({"steps": [0]}, ("num_inference_steps",)),
        ({"steps": [5000]}, ("num_inference_steps 5000", "1000")),
    ],
)
def test_what_cannot_be_is_one_line(model, tried, words):
    with pytest.raises(InputError) as caught:
        plan_sweep(model, **tried)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_guidance_of_a_model_that_is_told_nothing_is_refused(cache):
    recipe = tiny_recipe()
    recipe.conditioner = build(Unconditional)
    silent = tiny_pipeline(recipe)
    assert [cell.guidance_scale for cell in plan_sweep(silent).cells] == [1.0]
    with pytest.raises(InputError, match="guidance_scale 3"):
        plan_sweep(silent, guidance=[1, 3])


def test_labels_are_names_or_numbers():
    names = ("cat", "dog", "10")
    assert find_labels(["dog", "0", "dog"], names) == [1, 0]
    assert find_labels(["10"], names) == [2]
    assert find_labels([], names) == find_labels(["all"], names) == [0, 1, 2]
    for wrong in ("dgo", "3", "-1", "²"):
        with pytest.raises(InputError, match=wrong):
            find_labels([wrong], names)
    with pytest.raises(InputError, match="dog"):
        find_labels(["dgo"], names)


def test_a_cells_name_says_all_of_it():
    assert Cell("cosine", "ddim", 1.5, 1.0, 20).stem == "cosine_ddim_cfg1.5_eta1_steps20"
    cells = [
        Cell("cosine", "ddim", g, e, n, t)
        for g in (0.0, 1.5)
        for e in (0.0, 0.5)
        for n in (2, 20)
        for t in (True, False)
    ]
    assert len({cell.stem for cell in cells}) == len({cell.title for cell in cells}) == len(cells)


def test_guidance_and_second_order_cost_twice(model):
    found = plan_sweep(model, samplers=["ddim", "heun"], guidance=[0, 1, 3], steps=[10])
    own = {(cell.sampler, cell.guidance_scale): n for cell, n in found.cells.items()}
    assert own["ddim", 0.0] == own["ddim", 1.0] == 10
    assert own["ddim", 3.0] == 20
    assert own["heun", 1.0] == 19  # Euler's at the last step
