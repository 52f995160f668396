"""Vectors as TensorBoard's projector reads them."""

from __future__ import annotations

import pytest
import torch

from synesthete.training.run_log import PROJECTOR_CONFIG, RunLog, write_embedding


def read(folder):
    """The configuration as TensorBoard itself parses it."""
    projector = pytest.importorskip("tensorboard.plugins.projector.projector_config_pb2")
    from google.protobuf import text_format

    return text_format.Parse((folder / PROJECTOR_CONFIG).read_text(encoding="utf-8"), projector.ProjectorConfig())


def test_tensorboard_finds_every_embedding_with_its_labels(tmp_path):
    plugin = pytest.importorskip("tensorboard.plugins.projector.projector_plugin")
    vectors = torch.tensor([[1.0, -0.5, 3e-7], [2.0, 0.25, 1e9]])
    write_embedding(tmp_path, "pooled", vectors, {"class": ["cat", "größe"], "kind": ["condition", "null"]})
    write_embedding(tmp_path, "mean token", vectors[:, :2], {"class": ["a\tb", "c\nd"]})
    found = {embedding.tensor_name: embedding for embedding in read(tmp_path).embeddings}
    assert found.keys() == {"pooled", "mean-token"}
    tensor = plugin._read_tensor_tsv_file(str(tmp_path / found["pooled"].tensor_path))
    assert tensor == pytest.approx(vectors.numpy())
    rows = (tmp_path / found["pooled"].metadata_path).read_text(encoding="utf-8").splitlines()
    assert rows == ["class\tkind", "cat\tcondition", "größe\tnull"]
    # One column has no head: TensorBoard would take it for a point.
    assert (tmp_path / found["mean-token"].metadata_path).read_text(encoding="utf-8").splitlines() == ["a b", "c d"]


def test_the_newest_takes_the_place_of_the_older(tmp_path):
    for value in (1.0, 2.0):
        write_embedding(tmp_path, "pooled", torch.full((2, 1), value), {"class": ["a", "b"]})
    [embedding] = read(tmp_path).embeddings
    assert (tmp_path / embedding.tensor_path).read_text() == "2\n2\n"


def test_a_label_too_few_is_no_silent_shift(tmp_path):
    with pytest.raises(ValueError, match="3 vectors"):
        write_embedding(tmp_path, "pooled", torch.zeros(3, 2), {"class": ["a", "b"]})


def test_a_run_writes_them_beside_its_event_file(tmp_path):
    pytest.importorskip("tensorboard")
    log = RunLog(tmp_path, "denoise", 0)
    log.embedding("pooled", torch.zeros(2, 3), {"class": ["a", "b"]})
    log.close()
    assert (tmp_path / "tensorboard" / "denoise" / PROJECTOR_CONFIG).is_file()
    log.is_open = False  # as where tensorboard is not installed
    log.board = tmp_path / "other"
    log.embedding("pooled", torch.zeros(2, 3), {"class": ["a", "b"]})
    assert not log.board.exists()
