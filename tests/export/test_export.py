"""ONNX files: onnxruntime says what torch says, at any batch, and the files tell how to sample them."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import COLOURS, SOUND, cells, flow, music, pictures, upsampler

pytest.importorskip("onnxscript", reason="the export extra is not installed")
pytest.importorskip("onnxruntime", reason="the export extra is not installed")

import onnx

import synesthete.export.sampling
from synesthete import hub, seeding
from synesthete.codecs.autoencoder import AutoencoderCodec
from synesthete.codecs.latent import LatentCodec
from synesthete.codecs.mel import MelCodec, VocoderCodec
from synesthete.codecs.stft import StftCodec
from synesthete.export import export_model, model
from synesthete.export.graphs import conditioner_graph, decoder_graph, denoiser_graph
from synesthete.export.sampling import ExportedModel
from synesthete.types import InputError

MAKERS = {"pictures": pictures, "flow": flow, "cells": cells, "music": music}
# Their tables of classes and pixels are those of "pictures".
WRITTEN = {
    "pictures": ["conditioner", "denoiser", "decoder"],
    "flow": ["denoiser"],
    "cells": ["denoiser"],
    "music": ["denoiser", "decoder"],
}
MEL = {"num_samples": 2000, "sample_rate": 8000, "n_fft": 64, "hop_length": 16, "n_mels": 8}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every model in files: name -> (pipeline, folder, what was written)."""
    found = {}
    for name, make in MAKERS.items():
        pipeline, folder = make(), tmp_path_factory.mktemp(name)
        parts = ["conditioner", *WRITTEN[name]] if name == "music" else WRITTEN[name]  # told nothing, it has none
        found[name] = (pipeline, folder, export_model(pipeline, folder, parts))
    return found


@pytest.fixture(scope="module")
def known_graphs():
    """The graphs that `graphs_made_once` has."""
    return {}


@pytest.fixture
def graphs_made_once(known_graphs, monkeypatch):
    """Each table of classes and each decoder becomes a graph once, for tests of what is done with graphs."""
    serialised = model.serialised

    def kept(graph, said):
        if graph.outputs not in known_graphs:
            known_graphs[graph.outputs] = serialised(graph, said)
        return known_graphs[graph.outputs]

    monkeypatch.setattr(model, "serialised", kept)


def tell(pipeline, files, labels):
    """What a model's denoiser is told of classes and of none, by its file or, where it has none, by torch."""
    if not pipeline.class_names:
        return {}, None
    if "conditioner" in files.sessions:
        return files.tell(labels)
    with torch.no_grad():
        sides = pipeline.conditioner.encode(torch.tensor(labels)), pipeline.conditioner.null(len(labels))
    return [{name: getattr(side, name).numpy() for name in ("tokens", "pooled")} for side in sides]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", MAKERS)
def test_files_are_plain_onnx_with_names_and_any_batch(exported, name):
    pipeline, folder, files = exported[name]
    assert [file.path for file in files] == [folder / f"{part}.onnx" for part in WRITTEN[name]]
    assert sorted(folder.iterdir()) == sorted(file.path for file in files)  # nothing beside them
    told = [] if name == "music" else ["tokens", "pooled"]
    for file in files:
        onnx.checker.check_model(str(file.path), full_check=True)
        assert 0 <= file.difference <= file.tolerance
        for shape in [*file.inputs.values(), *file.outputs.values()]:
            assert shape[0] == "batch"
            assert all(isinstance(side, int) for side in shape[1:])
        if file.path.stem == "denoiser":
            assert list(file.inputs) == ["x_t", "timestep", *told]
            assert file.inputs["x_t"] == ["batch", *pipeline.codec.shape]
            assert list(file.outputs) == ["prediction"]
        if file.path.stem == "decoder":
            assert list(file.inputs) == ["x_0"]
            assert list(file.outputs) == ["waveform" if name == "music" else "pictures"]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("batch", [1, 5])
def test_the_denoiser_says_what_torch_says(exported, name, batch):
    pipeline, folder, _ = exported[name]
    x_t, timestep = draw(batch, *pipeline.codec.shape), torch.linspace(5, 995, batch)
    labels = torch.arange(batch) % 3
    with torch.no_grad():
        told = pipeline.conditioner.encode(labels)
        expected = pipeline.process.predict(pipeline.denoiser, x_t, timestep, told)
    files = ExportedModel(folder)
    given, _ = tell(pipeline, files, labels.tolist())
    found = files.run("denoiser", x_t=x_t.numpy(), timestep=timestep.numpy(), **given)["prediction"]
    assert expected.std() > 1e-3
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("scale", [None, 1.0, 0.0])
def test_onnxruntime_alone_samples_what_the_pipeline_samples(exported, name, scale):
    """With guidance inside its interval, and without; the pipeline's own first-order sampler, on the same noise."""
    pipeline, folder, _ = exported[name]
    if name == "music" and scale == 0.0:
        pytest.skip("told nothing, it has no other branch")
    labels, noise = torch.tensor([2, 0, 1]), draw(3, *pipeline.codec.shape)
    expected = pipeline(labels, noise=noise, guidance_scale=scale)
    files = ExportedModel(folder)
    told, null = tell(pipeline, files, labels.tolist())
    x_0 = files.sample(noise.numpy(), told, null, guidance_scale=scale)
    torch.testing.assert_close(torch.from_numpy(x_0), expected.x_0, rtol=1e-3, atol=2e-3)
    if "decoder" not in WRITTEN[name]:
        return
    signal = torch.from_numpy(files.decode(x_0))
    difference = (signal.float() - expected.signal.float()).abs().max()
    assert difference <= (1 if signal.dtype == torch.uint8 else 1e-3)


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_says_nothing_of_the_machine_it_was_made_on(exported, name):
    """Exporters note the lines that made each node, with their paths."""
    for path in exported[name][1].glob("*.onnx"):
        content = path.read_bytes()
        for word in (str(Path(torch.__file__).parent), str(Path(model.__file__).parents[1]), str(Path.home()) + "/"):
            assert word.encode() not in content


def test_a_file_tells_how_to_sample_it(exported):
    pipeline, folder, _ = exported["pictures"]
    said = {p.key: p.value for p in onnx.load(str(folder / "denoiser.onnx")).metadata_props}
    assert (said["part"], said["recipe"]) == ("denoiser", "tiny")
    assert json.loads(said["class_names"]) == list(COLOURS)
    assert json.loads(said["process"]) == pipeline.process.settings()
    assert json.loads(said["sampling"])["guidance_scale"] == 2.5
    assert json.loads(said["codec"])["class"] == "PixelCodec"
    assert json.loads(said["codec_statistics"])["mean"] == pipeline.codec.mean.tolist()
    steps = json.loads(said["steps"])
    assert len(steps["timestep"]) == 5
    assert steps["timestep"][0] == 999
    assert (steps["alpha"][0], steps["sigma"][0]) == (0.0, 1.0)
    assert (steps["alpha"][-1], steps["sigma"][-1]) == (1.0, 0.0)
    said = {p.key: p.value for p in onnx.load(str(folder / "conditioner.onnx")).metadata_props}
    assert said["null_label"] == "3"


def codecs():
    generator = torch.Generator().manual_seed(0)
    sounds = 0.2 * torch.randn(4, 2000, generator=generator)
    torch.manual_seed(0)
    vocoder = VocoderCodec(**MEL, dim=16, intermediate_dim=32, num_layers=2).fit([sounds])
    vocoder.trained.fill_(True)
    band = StftCodec(**SOUND, kind="complex", scaling="band", num_bins=25, num_frames=50).fit([sounds])
    latent = {"latent_channels": 4, "channels": (8, 16), "num_blocks": 1}
    tiny = AutoencoderCodec(None, 16, network={"kind": "TinyAutoencoder"})
    tiny.mean.fill_(0.1)
    return {
        "complex, bands": (band, "waveform", (2000,)),
        "magnitude": (StftCodec(**SOUND, num_bins=25).fit([sounds]), "magnitude", (31, 56)),
        "log-mel": (MelCodec(**MEL, vocoder="griffin-lim").fit([sounds]), "log_mel", (8, 126)),
        "whitened": (MelCodec(**MEL, whitening=0.5).fit([sounds]), "log_mel", (8, 126)),
        "vocoder": (vocoder, "waveform", (2000,)),
        "latents of sound": (LatentCodec(band, **latent), "waveform", (2000,)),
        "latents of pictures": (tiny, "pictures", (3, 16, 16)),
    }


@pytest.mark.parametrize("name", codecs())
def test_a_graph_decodes_as_its_codec_does(name):
    """In torch, where it is the same arithmetic without FFTs and complex numbers."""
    codec, output, shape = codecs()[name]
    graph = decoder_graph(codec.eval())
    assert graph.outputs == (output,)
    x_0 = draw(3, *codec.shape, seed=1)
    with torch.no_grad():
        found = graph.module(x_0)
    assert found.shape == (3, *shape)
    if output in ("pictures", "waveform"):
        expected = codec.decode(x_0).float()
        assert expected.std() > 1e-4
        torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_magnitudes_are_what_griffin_lim_takes():
    codec = codecs()["magnitude"][0]
    sound = 0.5 * torch.sin(torch.arange(2000) * 2 * torch.pi * 1000 / 8000)
    with torch.no_grad():
        found = decoder_graph(codec).module(codec.encode(sound[None]))[0]
    settings = {"window": torch.hann_window(60), "pad_mode": "constant", "return_complex": True}
    expected = torch.stft(sound, 60, 36, **settings).abs()
    torch.testing.assert_close(found[:25], expected[:25], rtol=1e-3, atol=1e-3)
    assert not found[25:].any()


@pytest.mark.parametrize("name", ["vocoder", pytest.param("latents of sound", marks=pytest.mark.slow)])
def test_networks_of_codecs_become_files(name, tmp_path):
    """The file is evaluated by the codec's own `decode` before it gets its name."""
    codec = codecs()[name][0]
    [file] = export_model(music(codec), tmp_path, ["decoder"])
    x_0 = draw(4, *codec.shape)
    found = torch.from_numpy(run_decoder(file.path, x_0.numpy()))
    expected = codec.eval().decode(x_0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * expected.abs().max().item())


def run_decoder(path, x_0):
    return hub.open_network(path).run(None, {"x_0": x_0})[0]


def test_a_low_band_is_an_input_of_its_own():
    pipeline = upsampler()
    graph = denoiser_graph(pipeline)
    assert list(graph.inputs) == ["x_t", "timestep", "spatial"]
    assert graph.inputs["spatial"].shape[1:] == pipeline.conditioner.spatial_shape
    assert conditioner_graph(pipeline) is None


def test_the_pipeline_is_left_as_it_is(tmp_path):
    pipeline = pictures()
    pipeline.denoiser.train()
    pipeline.denoiser.bfloat16()
    export_model(pipeline, tmp_path, ["conditioner"])
    assert pipeline.denoiser.training
    assert pipeline.denoiser.dtype == torch.bfloat16
    assert all(parameter.requires_grad for parameter in pipeline.denoiser.parameters())


@pytest.mark.usefixtures("graphs_made_once")
def test_nothing_is_replaced_unasked(tmp_path):
    (tmp_path / "conditioner.onnx").write_text("mine")
    with pytest.raises(InputError, match=r"conditioner.onnx: there already; give --overwrite or another --out"):
        export_model(pictures(), tmp_path, ["conditioner"])
    assert (tmp_path / "conditioner.onnx").read_text() == "mine"
    export_model(pictures(), tmp_path, ["conditioner"], overwrite=True)
    onnx.checker.check_model(str(tmp_path / "conditioner.onnx"))


@pytest.mark.usefixtures("graphs_made_once")
def test_a_file_that_differs_from_torch_never_gets_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("synesthete.export.graphs.TOLERANCE", -1.0)
    (tmp_path / "conditioner.onnx").write_text("mine")
    with pytest.raises(InputError, match=r"conditioner.onnx: differs from torch by .* not written"):
        export_model(pictures(), tmp_path, ["conditioner"], overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["conditioner.onnx"]
    assert (tmp_path / "conditioner.onnx").read_text() == "mine"


def test_weights_beyond_one_file_are_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="one ONNX file holds 2 GB"):
        export_model(pictures(), tmp_path, ["denoiser"])
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_one_line(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(InputError, match=r"^onnxscript not installed; pip install 'synesthete\[export\]'$"):
        export_model(pictures(), tmp_path)


def test_an_unknown_part_is_named(tmp_path):
    with pytest.raises(InputError, match="no part 'codec'; choose from conditioner, denoiser, decoder"):
        export_model(pictures(), tmp_path, ["codec"])


def test_sampling_needs_numpy_and_onnxruntime_alone():
    """It may be copied to where this package is not."""
    tree = ast.parse(Path(synesthete.export.sampling.__file__).read_text(encoding="utf-8"))
    roots = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    roots |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert roots - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


@pytest.mark.usefixtures("graphs_made_once")
def test_the_command_writes_files_and_says_what_they_take(tmp_path, command):
    pictures().save(tmp_path / "model")
    call = ("export", tmp_path / "model", "--out", tmp_path / "out", "--part", "conditioner,decoder")
    code, out, err = command(*call, "--json")
    assert (code, err) == (0, "")
    [conditioner, decoder] = json.loads(out.splitlines()[-1])["files"]
    assert Path(conditioner["path"]) == tmp_path / "out" / "conditioner.onnx"
    assert conditioner["bytes"] == Path(conditioner["path"]).stat().st_size
    assert decoder["outputs"] == {"pictures": ["batch", 3, 8, 8]}
    code, out, err = command(*call)
    assert (code, out) == (2, "")
    assert "there already; give --overwrite" in err
    code, out, err = command(*call[:-1], "decoder", "--overwrite")
    assert (code, out) == (0, f"{tmp_path / 'out' / 'decoder.onnx'}\n")
    assert "x_0 (batch, 3, 8, 8) -> pictures (batch, 3, 8, 8); differs from torch by" in err


@pytest.mark.usefixtures("graphs_made_once")
def test_after_a_full_disk_what_was_evaluated_is_kept(tmp_path, monkeypatch):
    """The rest is made when it is called again, and all is as of one call."""
    pipeline, parts, place = pictures(), ("conditioner", "decoder"), tmp_path / "out"
    files = export_model(pipeline, tmp_path / "whole", parts)
    write, made = Path.write_bytes, []

    def full(self, content):
        if "decoder" in self.name and made == ["tokens", "pictures"]:
            raise OSError(28, "No space left on device", str(self))
        return write(self, content)

    def counted(graph, said):
        made.append(graph.outputs[0])
        return serialised(graph, said)

    serialised = model.serialised
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(model, "serialised", counted)
    with pytest.raises(InputError, match=r"decoder.onnx: cannot be written \(No space.*; free some space") as caught:
        export_model(pipeline, place, parts)
    assert "\n" not in str(caught.value)
    assert {path.name for path in place.iterdir()} == {".unfinished", "conditioner.onnx"}
    again = export_model(pipeline, place, parts)
    assert made == ["tokens", "pictures", "pictures"]
    assert [replace(file, path=tmp_path / "whole" / file.path.name) for file in again] == files
    assert all((place / file.path.name).read_bytes() == file.path.read_bytes() for file in files)
    assert {path.name for path in place.iterdir()} == {file.path.name for file in files}


def test_noise_of_a_seed_is_the_pipelines_own(exported):
    """So that a sample can be made again elsewhere: the noise is drawn on the CPU, one generator a sample."""
    pipeline, folder, _ = exported["flow"]
    labels = torch.tensor([1, 1])
    expected = pipeline(labels, generators=seeding.sample_generators(7, 2))
    noise = seeding.randn(pipeline.codec.shape, seeding.sample_generators(7, 2))
    files = ExportedModel(folder)
    x_0 = files.sample(noise.numpy(), *tell(pipeline, files, labels.tolist()))
    torch.testing.assert_close(torch.from_numpy(x_0), expected.x_0, rtol=1e-3, atol=2e-3)
