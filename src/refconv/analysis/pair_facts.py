"""The facts of two models that are analysed, for the file pair.json."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from refconv.engine.run_record import RunRecord
from refconv.errors import RunError
from refconv.measures.facts import FACTS_FILE, PairFacts, SideFacts
from refconv.models.opening import Opened
from refconv.models.run_folder import RunFolder
from refconv.recipe.recipe import space_of


def side_facts(reference: str, opened: Opened) -> SideFacts:
    """Return the facts of a model that was opened, is plain and was named by a reference."""
    run = _run_record(reference)
    recipe = opened.recipe
    space = run.space if run is not None else space_of(recipe) if recipe is not None else None
    return SideFacts(
        reference=reference,
        method=recipe.method if recipe is not None else run.method if run is not None else None,
        space=space,
        run=run.to_dict() if run is not None else None,
        parameters=sum(parameter.numel() for parameter in opened.model.parameters()),
        fingerprint=fingerprint(opened.model),
    )


def fingerprint(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights and buffers: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_facts(folder: Path) -> PairFacts | None:
    """Read the facts of an analysis; None if there are none, or none of this version."""
    try:
        return PairFacts.read(folder / FACTS_FILE)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def _run_record(reference: str) -> RunRecord | None:
    """Return the record of the run that a reference names, as its folder or as the folder of its model."""
    folder = RunFolder(reference.removeprefix("local-dir:"))
    if folder.path.name == folder.model_folder.name and not folder.record_file.is_file():
        folder = RunFolder(folder.path.parent)
    file = folder.record_file
    if not file.is_file():
        return None
    try:
        return RunRecord.read(file)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise RunError("cannot read the record of the run", where=str(file), found=str(error)) from error
