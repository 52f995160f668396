"""Work that divides on a Ray cluster of three nodes, of which one is killed while another joins."""

from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from synesthete import executors
from synesthete.data.speech.corpus import build_speech_corpus
from synesthete.data.speech.engines import split_voices
from synesthete.executors import Local, package_identity, serve, working_on
from synesthete.types import InputError
from synesthete.worklist import standings


@pytest.mark.parametrize(("name", "said"), [("slurm", "give local, ray"), ("ray:9", "give local, ray")])
def test_other_places_are_refused(name, said):
    with pytest.raises(InputError, match=said):
        working_on(name)


def test_local_needs_no_ray():
    with working_on("local") as chosen:
        assert chosen is executors.LOCAL


def test_what_is_wrong_with_a_cluster_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install synesthete\[cluster\]"):
        working_on("ray")
    here = SimpleNamespace(get_node_ip_address=lambda: "10.0.0.7")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, util=here))
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unheard.getsockname()[1]}"
        with pytest.raises(
            InputError, match=rf"^ray://{address}: no cluster \(.*refused.*\); check the address"
        ) as said:
            working_on(f"ray://{address}")
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(InputError, match=rf"^{address}: no cluster"):
            working_on("ray")
    assert "\n" not in str(said.value)
    lost = serve([], "token", "0.0.1+other", b"")
    assert lost.error and "10.0.0.7" in lost.why and "0.0.1+other here" in lost.why


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and ".work" not in p.parts
    }


class OnNodes(Local):
    """Three nodes of a cluster in this process, by what their processes run; the disk of one is full."""

    name = "nodes"

    def __init__(self, monkeypatch, full: str | None) -> None:
        self.node, self.full, write = "", full, Path.write_bytes
        util = SimpleNamespace(get_node_ip_address=lambda: self.node)
        loads = SimpleNamespace(loads=lambda packed: packed)
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(util=util, get=lambda held: held, cloudpickle=loads))
        monkeypatch.setattr("synesthete.executors.single_threaded", lambda: None)

        def write_unless_full(path, content):
            if self.node == self.full:
                write(path, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, content)

        monkeypatch.setattr(Path, "write_bytes", write_unless_full)

    def run(self, work, jobs, how, at_most=None):
        for place, (name, job) in enumerate(jobs.items()):
            self.node = f"10.0.0.{place % 3}"
            try:
                done = serve([work], f"{id(self)}", package_identity(), job)
            finally:
                self.node = ""
            yield name, done


def test_a_disk_that_fills_on_one_node_is_one_line_and_nothing_is_lost(monkeypatch, tmp_path):
    pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
    words, voices = {"a": "one", "b": "two"}, {split: group[:1] for split, group in split_voices().items()}
    settings = {"seconds": 0.9, "takes": 2, "voices": voices, "allow_few_targets": True}
    build_speech_corpus(words, tmp_path / "local", **settings)
    with executors.using(OnNodes(monkeypatch, "10.0.0.2")), pytest.raises(InputError) as said:
        build_speech_corpus(words, tmp_path / "nodes", **settings)
    assert "\n" not in str(said.value) and "10.0.0.2" in str(said.value) and "No space left" in str(said.value)
    [standing] = standings(tmp_path / "nodes")
    assert 0 < standing.done < standing.total and "10.0.0.2" in standing.failed[0].why
    assert not [*(tmp_path / "nodes").rglob("*.partial")]
    with executors.using(OnNodes(monkeypatch, None)):
        made = build_speech_corpus(words, tmp_path / "nodes", **settings)
    assert made.num_kept == standing.done and made.num_kept + made.num_made == standing.total
    assert contents(tmp_path / "nodes") == contents(tmp_path / "local")


class TestRay:
    """A cluster on this machine; its nodes are processes."""

    @pytest.fixture(scope="class")
    def nodes(self):
        pytest.importorskip("ray", reason="the cluster extra is not installed")
        from ray.cluster_utils import Cluster

        small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        nodes = Cluster(initialize_head=True, head_node_args=small)
        nodes.small = small
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", nodes.address)
            nodes.add_node(**small)
            nodes.add_node(**small)
            yield nodes
            import ray

            ray.shutdown()
            nodes.shutdown()

    def test_a_corpus_is_the_same_though_a_node_is_killed_and_another_joins(self, nodes, tmp_path):
        pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
        import ray

        words = {name: name for name in ("one", "two", "three")}
        voices = {split: group[:2] for split, group in split_voices().items()}
        settings = {"seconds": 0.9, "takes": 2, "voices": voices, "allow_few_targets": True}
        build_speech_corpus(words, tmp_path / "local", **settings)
        seen: list[tuple[int, int]] = []
        killed: list = []

        def kill(done: int, total: int) -> None:
            seen.append((done, total))
            if done > total // 4 and not killed:
                own = ray.get_runtime_context().get_node_id()  # of the node that this process is on, whichever it is
                killed.append(next(node for node in nodes.worker_nodes if node.node_id != own))
                nodes.remove_node(killed[0], allow_graceful=False)
                nodes.add_node(**nodes.small)

        with working_on("ray"):
            made = build_speech_corpus(words, tmp_path / "ray", progress=kill, **settings)
        assert killed
        assert made.num_made == seen[-1][1] and not made.skipped  # nothing twice, nothing lost
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
        assert contents(tmp_path / "ray") == contents(tmp_path / "local")
