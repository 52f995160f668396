"""Where weights and caches are: models that ship with the package, folders, and the Hugging Face Hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synesthete.io import digest
from synesthete.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PRETRAINED", "Pretrained", "cache_folder", "find_model", "find_weights", "shipped_models", "weights_folder"]

Kind = Literal["model", "dataset"]

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "models"
MODEL_INDEX = "model_index.json"
ADAPTERS_INDEX = "adapters.json"  # of adapters to a published model
CARD = "README.md"  # what a model's page on the Hub says
SETTINGS = ("*.json", "*.yaml", "*.txt", "*.model", "*.jinja")  # configurations and what a tokenizer needs
WEIGHTS = ("*.safetensors", *SETTINGS)
# What no model of this package has: programs, and what runs one when it is read.
PROGRAMS = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".cmd", ".ps1", ".js", ".jar")
FOREIGN = (*PROGRAMS, ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill")
PICKLED = ("*.bin", *WEIGHTS)  # asked for only where nothing else was published; `read_weights` opens it


@dataclass(frozen=True)
class Pretrained:
    """Published weights or data that a part of this package can use.

    revision: the commit that is downloaded; None takes the newest. licence: as its page states it (SPDX where there
    is one). purpose: what it is for here. gated: its licence must be accepted on its page before a download. url: of
    the one file, where it was published outside the Hub; whoever reads it gets it from there. num_bytes: what is
    downloaded, about; None where it was never written down.
    """

    revision: str | None
    licence: str
    purpose: str
    kind: Kind = "model"
    gated: bool = False
    url: str = ""
    num_bytes: int | None = None


# The one table. A commit is written down only where several public projects were seen to pin it.
PRETRAINED: dict[str, Pretrained] = {
    "charactr/vocos-mel-24khz": Pretrained(
        "0feb3fdd929bcd6649e0e7c5a688cf7dd012ef21", "MIT", "vocoder: 24 kHz sound from 100 mel bands"
    ),
    "openai/clip-vit-base-patch32": Pretrained(
        "b97b0100e55e367c057773c2a614676470b0d575", "MIT", "what a picture or a text shows"
    ),
    "google/siglip-base-patch16-224": Pretrained(
        "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed", "Apache-2.0", "what a picture or a text shows"
    ),
    "facebook/dinov2-base": Pretrained(
        "f9e44c814b77203eaa57a6bdbbd535f21ede1415", "Apache-2.0", "what a picture shows, learned without text"
    ),
    "Qwen/Qwen3-VL-2B-Instruct": Pretrained(
        "89644892e4d85e24eaac8bacfd4f463576704203", "Apache-2.0", "what a picture shows, by its vision tower"
    ),
    "openai/whisper-tiny.en": Pretrained(
        "87c7102498dcde7456f24cfd30239ca606ed9063", "Apache-2.0", "listener for English, 39M parameters"
    ),
    "openai/whisper-base": Pretrained(
        "e37978b90ca9030d5170a5c07aadb050351a65bb", "Apache-2.0", "listener for many languages, 74M parameters"
    ),
    "laion/larger_clap_music_and_speech": Pretrained(
        None,
        "Apache-2.0",
        "what a sound is like, learned beside text; features of the Fréchet distance of music",
        num_bytes=776_000_000,
    ),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": Pretrained(
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        "CreativeML-OpenRAIL-M",
        "base of pictures from sound and text",
        num_bytes=4_270_000_000,  # its network, autoencoder and text encoder in float32
    ),
    "rhasspy/piper-voices": Pretrained(
        "c10ece1aade47bb51c153c893d14e5bf8e5b7117", "MIT; each voice's own in its MODEL_CARD", "neural voices"
    ),
    "mseitzer/pytorch-fid": Pretrained(
        None,
        "Apache-2.0",
        "features of FID and KID: the Inception network of 2015-12-05",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    ),
    "ILSVRC/imagenet-1k": Pretrained(
        "49e2ee26f3810fb5a7536bbf732a7b07389a47b5",
        "ImageNet terms of access (non-commercial research)",
        "photographs of 1,000 classes",
        kind="dataset",
        gated=True,
    ),
}


def cache_folder() -> Path:
    """Where corpora, prepared data and classifiers are kept: SYNESTHETE_CACHE, or ~/.cache/synesthete."""
    return Path(os.environ.get("SYNESTHETE_CACHE") or "~/.cache/synesthete").expanduser()


def weights_folder() -> Path:
    """Where models put there by hand are looked for, as owner/name: SYNESTHETE_WEIGHTS, or `weights` in the cache."""
    return Path(os.environ.get("SYNESTHETE_WEIGHTS") or cache_folder() / "weights").expanduser()


def shipped_models() -> list[str]:
    """Names of the models that came with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{MODEL_INDEX}"))


def find_model(name: str) -> Path:
    """The folder of a pipeline: a run folder, a model folder, a shipped model's name, or a Hub id (downloaded).

    Raises:
        InputError: none of these, or the Hub cannot be reached.
    """
    path = Path(name).expanduser()
    for folder in (path, path / "model", SHIPPED / name, weights_folder() / name):
        if (folder / MODEL_INDEX).is_file():
            return folder
    if (path / "recipe.yaml").is_file():
        raise InputError(
            f"{name}: a run without a finished model; go on with `synesthete train {path / 'recipe.yaml'} --out {path}`"
        )
    if path.exists():
        raise InputError(f"{name}: no {MODEL_INDEX} in it; give a run folder, a model folder, or one of {_known()}")
    if is_hub_id(name):
        return download(name, patterns=(*WEIGHTS, CARD))
    raise InputError(
        f"{name}: no such model; give a run folder, a model folder, a Hub id (owner/name) or one of {_known()}"
    )


def find_adapters(model: str) -> Path | None:
    """The folder of adapters that stands alone, or None: a whole model is loaded as one, adapters in it or not."""
    path = Path(model).expanduser()
    for folder in (path, weights_folder() / model):
        if any((folder / place / MODEL_INDEX).is_file() for place in ("", "model")):
            return None
        if (folder / ADAPTERS_INDEX).is_file():
            return folder
    return None


def find_weights(
    name: str, patterns: Sequence[str] = WEIGHTS, *, field: str | None = None, kind: Kind | None = None
) -> Path:
    """The folder of a pretrained model: a folder's path, or a Hub id, on this machine or else downloaded.

    An id is looked for in SYNESTHETE_WEIGHTS/owner/name, then in the Hugging Face cache, then on the Hub, at the
    revision that `PRETRAINED` pins. patterns: the files needed, as `fnmatch` of their path in the folder; those of
    `SETTINGS` may be missing, of the others one must be there. field: the recipe's field the name came from, which
    the message then tells how to set. kind: of repository; as `PRETRAINED` says where None, and a model if it does not.

    Raises:
        InputError: no such folder, nothing of the patterns in it, no connection, no such id, or a gated one.
    """
    found = local_weights(name, patterns, kind=kind)
    if found is not None:
        return found
    needed = " or ".join(_needed(patterns))
    owner = "a data set" if kind == "dataset" else "a model"
    if Path(name).expanduser().is_dir():
        raise InputError(f"{name}: no file like {needed} in it; give the folder that holds {owner}'s files")
    if not is_hub_id(name):
        raise InputError(f"{name}: no such folder; give {owner}'s folder or its Hub id (owner/name)")
    folder = download(name, patterns=patterns, field=field, kind=kind)
    if not _holds(folder, patterns):
        raise InputError(f"{name}: no file like {needed} is published there; give another id or {owner}'s folder")
    return folder


def local_weights(name: str, patterns: Sequence[str] = WEIGHTS, *, kind: Kind | None = None) -> Path | None:
    """As `find_weights`, but None where a download would be needed or the name stands for nothing."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path if _holds(path, patterns) else None
    if not is_hub_id(name):
        return None
    by_hand = weights_folder() / name
    if _holds(by_hand, patterns):
        return by_hand
    if not (_hub_cache() / f"{_kind(name, kind)}s--{name.replace('/', '--')}").is_dir():
        return None
    try:
        cached = _snapshot(name, patterns, cached=True, kind=kind)
    except Exception:  # not there, or a name that the Hub does not allow
        return None
    return cached if _holds(cached, patterns) else None


def download(
    repository: str,
    revision: str | None = None,
    patterns: Sequence[str] = WEIGHTS,
    *,
    field: str | None = None,
    kind: Kind | None = None,
) -> Path:
    """The files asked for of a Hub repository, at the revision that `PRETRAINED` pins unless one is given."""
    from huggingface_hub.errors import GatedRepoError

    if not (revision or PRETRAINED.get(repository, Pretrained(None, "", "")).revision):
        logger.warning("%s: no revision of it is pinned; the newest is downloaded", repository)
    where = f"put its files at {weights_folder() / repository} (SYNESTHETE_WEIGHTS is {weights_folder()})"
    where += f" or pass --set {field}=PATH" if field else " or give a folder's path"
    try:
        return _snapshot(repository, patterns, revision, kind=kind)
    except GatedRepoError:
        datasets = "datasets/" if _kind(repository, kind) == "dataset" else ""
        page = f"https://huggingface.co/{datasets}{repository}"
        raise InputError(
            f"{repository} is gated: accept its licence at {page} and log in with `hf auth login`, or {where}"
        ) from None
    except Exception as error:  # the client lets those of its connection library through, which differ by version
        if isinstance(error, OSError) and error.filename:
            raise InputError(f"{error.filename}: {error.strerror}; free some space or set HF_HOME") from None
        raise InputError(f"{repository} is not on this machine and {refusal(error)}; {where}") from None


def refusal(error: Exception) -> str:
    """Why the Hub did not do what its client asked for, as a part of a sentence."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    logger.debug("the Hub's client", exc_info=error)
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    if isinstance(error, RevisionNotFoundError):
        return "the Hub has no such revision of it"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hub has none of that name, or shows it only to who may see it (`hf auth login`)"
    if status == 401:
        return "the Hub does not know the token (`hf auth login`)"
    if status == 403:
        return "the Hub refused it: the token may not do that (`hf auth login` with one that may)"
    return f"the Hub failed with {status}" if status else "the Hub cannot be reached"


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model's folder by name: its safetensors, else its published `.bin`, read as tensors alone."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise InputError(f"{folder}: no *.safetensors or *.bin in it; give the folder that holds a model's files")
    return {name: value for file in files for name, value in read_tensors(file).items()}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Every tensor of a file of weights by name: of safetensors, or pickled, which is read as tensors alone."""
    import torch
    from safetensors.torch import load_file

    try:
        is_safe = file.suffix == ".safetensors"
        found = load_file(file) if is_safe else torch.load(file, map_location="cpu", weights_only=True)
        return {name: value.detach() for name, value in found.items()}
    except Exception:  # safetensors, pickle and zip each have their own
        raise InputError(f"{file}: damaged, or more than tensors in it; download the file again") from None


def weights_digest(folder: Path) -> str:
    """32 hexadecimal digits that name a model by content: the bytes and paths of its weights and settings.

    Files already read in this process are read again only if their size or time changed.
    """
    total = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if any(fnmatch(name, pattern) for pattern in ("*.onnx", *PICKLED)):
            stat = path.stat()
            total.append(f"{name}\0{_digest(path, stat.st_size, stat.st_mtime_ns)}\0")
    return digest("".join(total).encode(), size=16)


def check_files(folder: Path) -> None:
    """Make sure that a model's folder holds nothing but what models hold, before any of it is read."""
    for path in folder.rglob("*"):
        if path.suffix.lower() in FOREIGN:
            raise InputError(f"{path}: no model has such a file, which could run as a program; remove it")


def is_hub_id(name: str) -> bool:
    """Whether a name can be a repository's, owner/name, and is no path."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name.split("/")[0]).is_dir()


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed: int) -> str:
    return digest(path, size=64)


def _hub_cache() -> Path:
    """Where the Hub's client keeps repositories, as it says; importing it to ask takes a third as long as torch."""
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(cache or Path(home) / "hub").expanduser()


def _kind(repository: str, kind: Kind | None) -> Kind:
    return kind or (PRETRAINED[repository].kind if repository in PRETRAINED else "model")


def _snapshot(
    repository: str,
    patterns: Sequence[str],
    revision: str | None = None,
    *,
    cached: bool = False,
    kind: Kind | None = None,
) -> Path:
    """A revision's folder in the Hugging Face cache, downloaded if need be; `cached`: never downloaded."""
    # Imported here: most commands need no Hub.
    from huggingface_hub import snapshot_download

    entry = PRETRAINED.get(repository, Pretrained(None, "", ""))
    return Path(
        snapshot_download(
            repository,
            repo_type=_kind(repository, kind),
            revision=revision or entry.revision,
            allow_patterns=list(patterns),
            local_files_only=cached,
        )
    )


def open_network(path: Path, inner: str | None = None, num_threads: int = 1) -> Any:
    """An ONNX file as a session of onnxruntime on the CPU, quiet and on one thread: many processes compute at once.

    inner: the name of a tensor within the network, to be given out after its own outputs.

    Raises:
        InputError: onnxruntime cannot load it, or has no such tensor. ImportError: there is no onnxruntime.
    """
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.log_severity_level = 4
    try:
        source = str(path) if inner is None else path.read_bytes() + _as_output(inner)
        return InferenceSession(source, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has exceptions of its own
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{path}: not a network that onnxruntime can load ({reason}); get it again") from None


def _as_output(name: str) -> bytes:
    """What makes a tensor an output when it is appended to an ONNX file: joined protocol buffers merge."""
    part = name.encode()
    for field in (1, 12, 7):  # ValueInfoProto.name, GraphProto.output, ModelProto.graph
        part = bytes([8 * field + 2, len(part)]) + part
    return part


def _needed(patterns: Sequence[str]) -> list[str]:
    weights = [pattern for pattern in patterns if not any(fnmatch(pattern, setting) for setting in SETTINGS)]
    return weights or list(patterns)


def _holds(folder: Path, patterns: Sequence[str]) -> bool:
    """Whether one of the files needed is there: a lone config.json in a cache is no model."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return any(fnmatch(path, pattern) for path in paths for pattern in _needed(patterns))


def _known() -> str:
    return ", ".join(shipped_models()) or "the shipped models (none in this installation)"
