"""The benchmarks against other projects, each run whole at a size of seconds."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from benchmarks import images_vs_peers, unet_forward
from benchmarks.peers import diffusers_unet, lucidrains, torchvision_stand_in
from benchmarks.peers.ours import Pace
from benchmarks.peers.seed_unet import SeedUNet
from benchmarks.peers.side import make_sheet, run_side
from benchmarks.peers.task import Budget, BudgetSpentError, Task, fit_width
from benchmarks.peers.verdict import find_behind
from PIL import Image
from torch import nn

from synesthete.config import Stage
from synesthete.data.rows import Rows
from synesthete.evaluation.classifiers.image import ImageClassifier
from synesthete.training.run_log import StepReport
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = (
    "data.sources.0.num_train=15",
    "data.limit=null",
    "denoiser.channels=[32,64]",
    "stages.0.precision='no'",
)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sides run in this process, which spares their imports; the names of those that did."""
    ran = []

    def start(side: str, task: Any, options: Any) -> None:
        ran.append(side)
        run_side(side, task, options.out / side)

    monkeypatch.setattr(images_vs_peers, "start_side", start)
    quick = replace(ImageClassifier.training_settings, most_steps=10)
    monkeypatch.setattr(ImageClassifier, "training_settings", quick)
    return ran


def run(monkeypatch: pytest.MonkeyPatch, module: Any, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *words])
    module.main()


def compare(monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> None:
    settings = (word for assignment in TINY for word in ("--set", assignment))
    own = ("--recipe", "images-photos-debug", "--minutes", "0.005", "--num", "12", "--steps", "2", "--out", str(out))
    run(monkeypatch, images_vs_peers, *own, *settings, *words)


def test_the_original_network_has_its_size_and_starts_at_zero() -> None:
    network = SeedUNet().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_177_539
    x_t, context = torch.randn(2, 3, 16, 16), torch.randn(2, 1, 512)
    assert not network(x_t, torch.tensor([1.0, 900.0]), context).any()
    nn.init.normal_(network.out.weight)
    assert network(x_t, torch.tensor([1.0, 900.0]), context).shape == x_t.shape


@pytest.mark.parametrize(("size", "level"), [(16, 1), (32, 1), (64, 2)])
def test_diffusers_attends_where_a_picture_is_sixteen_wide(size: int, level: int) -> None:
    task = Task("", "", (), (3, size, size), 10, 0, flips=False, seconds=1, num=1, num_inference_steps=1)
    network = diffusers_unet.make_network(task, 8)
    attends = [bool(getattr(block, "attentions", None)) for block in network.down_blocks]
    assert attends == [number == level for number in range(4)]
    assert attends == [bool(getattr(block, "attentions", None)) for block in network.up_blocks][::-1]


def test_unet_forward_reports_both_sides(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(unet_forward, "start", unet_forward.measure)
    small = ("--batch-size", "1", "--size", "16", "--rounds", "2", "--passes", "1", "--matrix-size", "32")
    run(monkeypatch, unet_forward, "--recipe", "images-stl10-debug", *small, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["speedup"] == found["seed_seconds"] / found["ours_seconds"]
    assert (found["seed_parameters"], found["precision"]["seed"]) == (4_177_539, "float32")
    assert found["flops"]["seed"] > found["flops"]["ours"] == found["flops"]["ours_float32"] > 0
    gflops = found["flops"]["seed"] / found["seed_seconds"] / 1e9
    assert found["share_of_peak"]["seed"] == pytest.approx(gflops / found["matrix_peak_gflops_float32"])
    assert min(found["all_seconds"]["seed"]) == found["seed_seconds"]


def test_operations_of_attention_are_counted_as_of_two_products() -> None:
    # 2 samples x 3 heads, 5 queries, 7 keys of width 11: scores, then their mean of values.
    shapes = (2, 3, 5, 11), (2, 3, 7, 11), (2, 3, 7, 11)
    assert unet_forward.count_attention(*shapes) == 2 * (2 * 3 * 5 * 7 * 11) * 2


def test_sides_are_run_once_evaluated_and_compared(
    in_process: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(monkeypatch, tmp_path, "--only", "ours", "--only", "diffusers", "--json")
    found = json.loads(capsys.readouterr().out)
    ours, theirs = found["sides"]["ours"], found["sides"]["diffusers"]
    assert in_process == ["ours", "diffusers"]
    assert abs(theirs["parameters"] / ours["parameters"] - 1) <= 0.1
    assert set(theirs["samplers"]) == {"ddpm", "ddim", "dpmsolver++"}
    for side in (ours, theirs):
        assert side["steps"] >= 1
        assert side["samples_per_second"] == side["samples"] / side["seconds"]
        for sampler in side["samplers"].values():
            assert 0 <= sampler["class_accuracy"] <= 1
            assert sampler["pictures_per_second"] > 0
    assert found["num_training_pictures"] == 120  # the classifier's fifth is kept from all
    assert len(list((tmp_path / "data" / "png").iterdir())) == 120

    compare(monkeypatch, tmp_path, "--only", "ours")
    assert in_process == ["ours", "diffusers"]
    assert "diffusers, ddim" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="other settings; give another --out"):
        compare(monkeypatch, tmp_path, "--num", "13", "--only", "ours")


def test_a_missing_peer_is_one_line_with_the_command(
    in_process: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("denoising_diffusion_pytorch"):
        pytest.skip("denoising-diffusion-pytorch is installed")
    with pytest.raises(SystemExit, match=r"pip install --no-deps --target FOLDER denoising-diffusion-pytorch"):
        compare(monkeypatch, tmp_path, "--only", "lucidrains")


def test_lucidrains_trains_and_samples(
    in_process: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ema_pytorch", reason=f"pip install --no-deps {lucidrains.PACKAGES}")
    compare(monkeypatch, tmp_path, "--only", "lucidrains", "--json")
    side = json.loads(capsys.readouterr().out)["sides"]["lucidrains"]
    assert side["samples"] == 16 * side["steps"] > 0
    assert side["samplers"]["ddim"]["class_accuracy"] is None


def test_the_stand_in_loads_a_picture_and_is_gone_afterwards() -> None:
    if importlib.util.find_spec("torchvision"):
        pytest.skip("torchvision is installed")
    with torchvision_stand_in.standing_in():
        from torchvision import transforms as T
        from torchvision import utils  # noqa: F401
    load = T.Compose([T.Lambda(lambda p: p.convert("RGB")), T.Resize(4), T.CenterCrop(4), T.ToTensor()])
    picture = Image.new("RGB", (8, 8), (255, 0, 51))
    assert torch.equal(load(picture)[:, 0, 0], torch.tensor([1.0, 0.0, 0.2]))
    assert load(picture).shape == (3, 4, 4)
    assert load(picture.convert("L")).shape == (3, 4, 4)
    assert importlib.util.find_spec("torchvision") is None


def test_a_width_is_as_round_as_closeness_allows() -> None:
    made = lambda width: nn.Linear(width, width, bias=False)  # noqa: E731
    assert fit_width(made, 65**2) == 64
    assert fit_width(made, 68**2) == 68  # 64 has 11% fewer, 72 has 12% more
    assert fit_width(made, 21**2) == 20  # nothing within 5%, this one within 10%
    with pytest.raises(InputError, match=r"within 10% of 2 parameters, the nearest has 4;"):
        fit_width(made, 2)


def test_batches_end_with_the_time() -> None:
    clock = iter(range(100))
    budget = Budget(5, lambda: next(clock))  # a look at it is a second
    batches, taken = budget.until_spent(iter(int, 1)), 0
    with pytest.raises(BudgetSpentError):
        while True:
            next(batches)
            taken += 1
    assert taken == 5


@pytest.mark.parametrize("slow_start", [1.0, 6.0])
def test_a_stage_ends_with_the_time_and_knows_its_last_step_beforehand(slow_start: float) -> None:
    stage = Stage("denoise", objective=None, num_steps=10**7)
    budget = SimpleNamespace(seconds=100.0, spent=0.0)
    pace = Pace(stage, budget)
    step, foreseen = 0, []
    while step < stage.num_steps:
        step += 1
        seconds = slow_start if step == 1 else 1.0
        budget.spent += seconds
        foreseen.append(stage.num_steps)
        pace(StepReport("denoise", step, stage.num_steps, 0.5, seconds))
    assert budget.spent == pytest.approx(100, abs=2)
    assert foreseen[-1] == step  # the loop saves where a step's number is the stage's


def test_behind_names_rows_where_any_sampler_is_as_good() -> None:
    def side(kid: float, speed: float, accuracy: float | None) -> dict[str, Any]:
        samplers = {"own": {"kid": 9.0, "class_accuracy": accuracy, "pictures_per_second": 0.1}}
        samplers["other"] = {"kid": kid, "class_accuracy": accuracy, "pictures_per_second": speed}
        return {"samplers": samplers, "samples_per_second": 1.0, "peak_bytes": 5, "working_bytes": 5}

    ours = side(0.2, 2.0, 0.6) | {"samples_per_second": 2.0, "peak_bytes": 4, "working_bytes": 4}
    assert find_behind({"ours": ours, "peer": side(0.3, 1.0, None)}) == []
    found = find_behind({"ours": ours, "peer": side(0.1, 3.0, 0.5)})
    assert [(row["row"], row["theirs"]) for row in found] == [("kid", 0.1), ("pictures_per_second", 3.0)]


def test_a_sheet_has_rows_of_ten() -> None:
    pictures = torch.zeros(12, 1, 4, 6, dtype=torch.uint8)
    pictures[11] = 7
    sheet = make_sheet(pictures)
    assert sheet.size == (60, 8)
    assert (sheet.getpixel((6, 4)), sheet.getpixel((0, 4)), sheet.getpixel((12, 4))) == (7, 0, 255)


def test_pictures_are_written_for_whoever_reads_files(tmp_path: Path) -> None:
    pictures = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    images_vs_peers.write_pictures(Rows([pictures])[:], torch.arange(3), tmp_path / "data")
    files = sorted((tmp_path / "data" / "png").iterdir())
    assert len(files) == 3
    with Image.open(files[1]) as picture:
        assert torch.equal(torchvision_stand_in.ToTensor()(picture).mul(255).round().to(torch.uint8), pictures[1])


def test_data_is_a_tar_a_folder_with_one_or_class_folders(tmp_path: Path) -> None:
    assert images_vs_peers.data_assignments(None) == []
    assert images_vs_peers.data_assignments(tmp_path) == [f"data.folder={tmp_path}"]
    archive = tmp_path / "photos.tar.xz"
    archive.touch()
    expected = [f"data.sources.classtar.path={archive}"]
    assert images_vs_peers.data_assignments(tmp_path) == images_vs_peers.data_assignments(archive) == expected
