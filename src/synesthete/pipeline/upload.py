"""A model's folder on its way to the Hugging Face Hub."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from synesthete import hub
from synesthete.pipeline.model_card import OURS, write_card
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

# Where a card of ours names the model it is of: heading, command and call.
NAMED = re.compile(r'^(# |synesthete sample |synesthete\.load\(")([^\s"]+)', re.MULTILINE)


def upload(
    folder: Path, repository: str, *, private: bool = False, token: str | None = None, licence: str | None = None
) -> str:
    """Put a model's folder into a repository of the Hub, made if need be, in one commit; returns its address.

    Weights, settings (the recipe among them), classifier and card go along, nothing else that lies there. A card of
    ours names the model by the repository.

    repository: owner/name. private: where it is made. token: the one of `hf auth login` or HF_TOKEN where None.
    licence: as the Hub writes it, in place of the card's.

    Raises:
        InputError: no such name, a program in the folder, the Hub refuses it or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository if hub.is_hub_id(repository) else "")
    except HFValidationError:
        raise InputError(f"{repository}: no name of a repository; give owner/name") from None
    hub.check_files(folder)
    if not (folder / hub.CARD).is_file():
        write_card(folder)
    card = (folder / hub.CARD).read_text(encoding="utf-8")
    if OURS in card:
        card = NAMED.sub(rf"\g<1>{repository}", card)
    if licence:
        card = re.sub(r"^license: .*$", f"license: {licence}", card, count=1, flags=re.MULTILINE)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    sent = [name for name in names if any(fnmatch(name, pattern) for pattern in hub.WEIGHTS)]
    files = [CommitOperationAdd(name, str(folder / name)) for name in sent]
    try:
        api = HfApi(token=token)
        address = api.create_repo(repository, private=private, exist_ok=True)
        files.append(CommitOperationAdd(hub.CARD, card.encode()))
        api.create_commit(repository, files, commit_message="A model of synesthete")
    except Exception as error:  # the client lets those of its connection library through, which differ by version
        raise InputError(f"{repository}: not uploaded, {hub.refusal(error)}; the same call does it later") from None
    return str(address)
