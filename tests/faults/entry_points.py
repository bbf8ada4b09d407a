"""Every place where refconv reads a file: how the file is made, how it is read, and what its mutants are."""

from __future__ import annotations

import copy
import csv
import functools
import gzip
import importlib.util
import io
import json
import operator
import shutil
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import safetensors.torch
import timm
import tomli_w
import tomllib
import torch
from PIL import Image
from torch import nn

import refconv
from faults import mutants
from faults.mutants import Mutant, bytes_mutants, json_bytes, tree_mutants
from finished_runs import finished_run
from improvement_records import record as improvement_record
from labelled_tables import write_tables
from masked_folders import write_masks, write_voc
from refconv.data import sources
from refconv.data.arrays import open_arrays, read_tensor
from refconv.data.class_names import read_class_map
from refconv.data.images import decode, sizes_of
from refconv.data.opening import open_data
from refconv.data.targets import Wanted
from refconv.digests import DIGEST, digest_of, with_digest
from refconv.engine import train
from refconv.engine.metrics import Metrics
from refconv.engine.run_record import RunRecord
from refconv.exporting.results import results_of
from refconv.improvement.record import SearchPlan
from refconv.layers.find import find_layers
from refconv.layers.masks import matched, read_masks
from refconv.measures.pairs import measure_of
from refconv.models.checkpoint import Checkpoint
from refconv.models.creation import restore
from refconv.models.metadata import certificate_of
from refconv.models.model_folder import located
from refconv.models.model_input import of_weights
from refconv.models.opening import input_of, open_model
from refconv.models.run_folder import RunFolder
from refconv.models.weight_files import read_weights, snapshot_bytes
from refconv.named_code import trusting
from refconv.recipe.recipe import Recipe
from refconv.report import read_pair, write_report
from refconv.report.charts import pictures
from refconv.studies import read_study
from refconv.studies.journal import Journal
from refconv.surgery import Certificate, metadata_of, with_metadata
from refconv.tasks.detection.layouts import coco_annotations, voc_annotations
from refconv.tasks.segmentation.masks import read_mask
from run_checkpoints import save_run, small_recipe
from small_studies import TINY


@dataclass(frozen=True)
class Entry:
    """One entry point: a file, what reads it, its mutants, and whether other values in it may be legal."""

    file: Path
    read: Callable[[], Any]
    mutants: Callable[[int, int], Iterator[Mutant]]  #: of a seed and how many
    legal: bool = False
    same: Callable[[Any, Any], bool] = operator.eq  #: whether what was read of a mutant is as the original


ENTRIES: dict[str, Callable[[Path], Entry]] = {}


def entry(name: str) -> Callable[[Callable[[Path], Entry]], Callable[[Path], Entry]]:
    """Register what makes an entry point in an empty folder."""

    def register(make: Callable[[Path], Entry]) -> Callable[[Path], Entry]:
        ENTRIES[name] = make
        return make

    return register


def of_bytes(file: Path, read: Callable[[], Any], other: bytes = b"", *, legal: bool = False) -> Entry:
    """Return an entry point whose file's bytes are damaged."""
    content = file.read_bytes()
    return Entry(file, read, lambda seed, count: bytes_mutants(content, seed, count, other), legal)


def of_json(file: Path, read: Callable[[], Any], *, legal: bool = False, forged: bool = False) -> Entry:
    """Return an entry point whose JSON is changed; with ``forged`` its digest is written anew."""
    content = file.read_bytes()
    tree = json.loads(content)
    tree = without_digest(tree) if forged else tree

    def made(seed: int, count: int) -> Iterator[Mutant]:
        for name, changed in tree_mutants(tree, seed, count):
            yield name, json_bytes(signed(changed) if forged else changed)
            count -= 1
        if count > 0:  # a small structure
            yield from bytes_mutants(content, seed, max(count, 50))

    return Entry(file, read, made, legal or forged)


def without_digest(tree: Any) -> Any:
    """Return a mapping without its digest."""
    return {key: value for key, value in tree.items() if key != DIGEST} if isinstance(tree, dict) else tree


def signed(tree: Any) -> Any:
    """Return a structure with a digest that fits, where one can be made."""
    try:
        # Keys become texts in JSON.
        return with_digest(json.loads(json.dumps(tree)))
    except (RecursionError, TypeError, ValueError):
        return tree


def of_toml(file: Path, read: Callable[[], Any]) -> Entry:
    """Return an entry point whose TOML, which people write, is changed."""
    tree = tomllib.loads(file.read_text(encoding="utf-8"))

    def made(seed: int, count: int) -> Iterator[Mutant]:
        for name, changed in tree_mutants(tree, seed, count):
            yield name, toml_bytes(changed)

    return Entry(file, read, made, legal=True)


def toml_bytes(tree: Any) -> bytes:
    """Return TOML, also of what TOML cannot say; keys are quoted, tables inline."""

    def said(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(str(key))} = {said(item)}" for key, item in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(said, value)) + "]"
        if value == mutants.LONG and type(value) is int:
            return "9" * 5000
        return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return "".join(f"{json.dumps(str(key))} = {said(value)}\n" for key, value in tree.items()).encode()
    finally:
        sys.setrecursionlimit(limit)


def of_torch(file: Path, read: Callable[[], Any], *, forged: bool = False) -> Entry:
    """Return an entry point whose file of ``torch.save`` is changed in its structure."""
    tree = torch.load(file, weights_only=True)
    tree = without_digest(tree) if forged else tree

    def made(seed: int, count: int) -> Iterator[Mutant]:
        for name, changed in tree_mutants(tree, seed, 2 * count):
            buffer = io.BytesIO()
            changed = with_metadata(changed, metadata_of(tree)) if metadata_of(tree) else changed
            try:
                torch.save(with_digest(changed) if forged and isinstance(changed, dict) else changed, buffer)
            except (RecursionError, UnicodeEncodeError, NotImplementedError, RuntimeError, AttributeError, TypeError):
                continue  # no program can write it
            yield name, buffer.getvalue()
            count -= 1
            if not count:
                return

    return Entry(file, read, made, legal=forged)


def of_safetensors(file: Path, read: Callable[[], Any], *, inner: tuple[str, ...] = (), forged: bool = False) -> Entry:
    """Return an entry point whose header is changed, and the JSON that it holds as text under ``inner``."""
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    for name in inner:
        header["__metadata__"][name] = json.loads(header["__metadata__"][name])
    if forged:
        header["__metadata__"].pop(DIGEST)

    def made(seed: int, count: int) -> Iterator[Mutant]:
        for name, changed in tree_mutants(header, seed, count):
            said = changed.get("__metadata__")
            if isinstance(said, dict):
                for key, value in said.items():
                    if not isinstance(value, str) or key in inner:
                        said[key] = json_bytes(value).decode()
            text = json_bytes(changed)
            yield name, len(text).to_bytes(8, "little") + text + content[end:]

    return Entry(file, read, made, legal=forged)


# Runs and models


def opened_as_values(path: Path | str, **how: Any) -> str:
    """Open a model as every command does and return all that is known about it."""
    found = open_model(str(path), **how)
    return digest_of([
        dict(sorted(found.model.state_dict().items())), found.name, dict(found.arguments), found.task,
        list(found.class_names), input_of(found, pictures=False).to_dict(),
        None if found.recipe is None else found.recipe.to_dict(),
    ])  # fmt: skip


def checkpoint_as_values(path: Path) -> str:
    """Load a checkpoint, build its model, and return all that it holds."""
    restored, read = restore(path), Checkpoint.load(path)
    read.check_recipe(restored.recipe, where=str(path))
    content = {field.name: getattr(read, field.name) for field in fields(read)}
    return digest_of([content, dict(restored.model.state_dict()), input_of(open_model(str(path))).to_dict()])


def a_run(folder: Path) -> Path:
    """Write a run that has not finished; its checkpoint holds an optimizer's state."""
    recipe = small_recipe(opt="adamw", lr=0.01)
    save_run(folder / "run", recipe, finished=False)
    return folder / "run"


@entry("checkpoint, bytes")
def _(folder: Path) -> Entry:
    file = a_run(folder) / "checkpoint.pt"
    return of_bytes(file, lambda: checkpoint_as_values(file), SAFETENSORS)


@entry("checkpoint, structure")
def _(folder: Path) -> Entry:
    file = a_run(folder) / "checkpoint.pt"
    return of_torch(file, lambda: checkpoint_as_values(file))


@entry("checkpoint, structure with another digest")
def _(folder: Path) -> Entry:
    file = a_run(folder) / "checkpoint.pt"
    return of_torch(file, lambda: checkpoint_as_values(file), forged=True)


@entry("checkpoint, resumed, with another digest")
def _(folder: Path) -> Entry:
    run, whole = folder / "run", folder / "whole"
    recipe = small_recipe(opt="adamw", lr=0.01, epochs=1, batch_size=512, workers=0, snapshots=0)
    train(recipe, whole, show=False)
    (whole / "record.json").unlink()
    shutil.copytree(whole, run)

    def read() -> Any:
        for name in ("model", "record.json"):
            if (run / name).is_dir():
                shutil.rmtree(run / name)
            (run / name).unlink(missing_ok=True)
        shutil.copyfile(whole / "metrics.jsonl", run / "metrics.jsonl")
        return train(recipe, run, resume=True, show=False).loss

    return of_torch(run / "checkpoint.pt", read, forged=True)


def a_model(folder: Path) -> Path:
    """Write a finished run and return the folder of its model."""
    finished_run(folder / "run", small_recipe())
    return folder / "run" / "model"


@entry("config.json, bytes")
def _(folder: Path) -> Entry:
    file = a_model(folder) / "config.json"
    return of_bytes(file, lambda: opened_as_values(file.parent), b'{"architecture": "resnet18"}')


@entry("config.json, structure")
def _(folder: Path) -> Entry:
    file = a_model(folder) / "config.json"
    return of_json(file, lambda: opened_as_values(file.parent))


@entry("config.json, structure with another digest")
def _(folder: Path) -> Entry:
    file = a_model(folder) / "config.json"
    return of_json(file, lambda: opened_as_values(file.parent), forged=True)


@entry("config.json of timm")
def _(folder: Path) -> Entry:
    out = folder / "net"
    refconv.export(timm.create_model("test_resnet", num_classes=3).eval(), out, format="hub", preprocessing={
        "input_size": [3, 32, 32], "mean": [0.2, 0.4, 0.6], "std": [0.5, 0.25, 0.125]
    }, license="mit")  # fmt: skip
    return of_json(out / "config.json", lambda: opened_as_values(out), forged=True)


@entry("preprocessor_config.json")
def _(folder: Path) -> Entry:
    torch.save({"a": torch.zeros(2)}, folder / "weights.pth")
    said = {
        "do_resize": True, "size": {"height": 32, "width": 32}, "resample": 3, "do_normalize": True,
        "do_rescale": True, "rescale_factor": 1 / 255, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2],
        "crop_size": {"height": 24, "width": 24}, "do_center_crop": True, "do_flip_channel_order": False,
    }  # fmt: skip
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(said))
    return of_json(file, lambda: repr(prepared_by(folder / "weights.pth")), legal=True)


def prepared_by(weights: Path) -> Any:
    """Return the preprocessing that a file beside weights says."""
    from refconv.data.preprocessing import resolve

    return resolve((of_weights(weights),), in_chans=3)


@entry("model.safetensors, bytes")
def _(folder: Path) -> Entry:
    file = a_model(folder) / "model.safetensors"
    return of_bytes(file, lambda: (opened_as_values(file.parent), certificate_of(file.parent)), SAFETENSORS)


@entry("model.safetensors, header")
def _(folder: Path) -> Entry:
    file = a_model(folder) / "model.safetensors"
    return of_safetensors(file, lambda: opened_as_values(file.parent), inner=("module_versions",))


@entry("model.safetensors, header without digest")
def _(folder: Path) -> Entry:
    file = a_model(folder) / "model.safetensors"
    return of_safetensors(file, lambda: opened_as_values(file.parent), inner=("module_versions",), forged=True)


def a_network() -> nn.Module:
    """Return a small network, always the same."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten())


def an_adapter(folder: Path) -> tuple[Path, Callable[[], Any]]:
    """Write an adapter, and return what loads it."""
    model = a_network()
    refconv.refocus(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * parameter.requires_grad
    file = folder / "adapter.safetensors"
    refconv.save_adapter(model, file)

    def read() -> Any:
        plain = a_network()
        before = digest_of(dict(plain.state_dict()))
        try:
            refconv.load_adapter(plain, file)
        except refconv.errors.RefconvError:
            assert digest_of(dict(plain.state_dict())) == before, "a refused adapter changed the model"
            raise
        refconv.merge(plain)
        return digest_of(dict(plain.state_dict()))

    return file, read


@entry("adapter, bytes")
def _(folder: Path) -> Entry:
    return of_bytes(*an_adapter(folder), SAFETENSORS)


@entry("adapter, header")
def _(folder: Path) -> Entry:
    return of_safetensors(*an_adapter(folder), inner=("sites", "rest"))


@entry("adapter, header without digest")
def _(folder: Path) -> Entry:
    return of_safetensors(*an_adapter(folder), inner=("sites", "rest"), forged=True)


@entry("snapshot, bytes")
def _(folder: Path) -> Entry:
    file = folder / "epoch-0001.pth"
    file.write_bytes(snapshot_bytes(a_network().state_dict()))
    return of_bytes(file, lambda: loaded_into(a_network(), file), SAFETENSORS)


@entry("snapshot, structure")
def _(folder: Path) -> Entry:
    file = folder / "epoch-0001.pth"
    file.write_bytes(snapshot_bytes(a_network().state_dict()))
    return of_torch(file, lambda: loaded_into(a_network(), file))


@entry("weights of other programs, structure")
def _(folder: Path) -> Entry:
    file = folder / "weights.pth"
    torch.save({"epoch": 3, "args": {"lr": 0.1}, "state_dict": dict(a_network().state_dict())}, file)
    return of_torch(file, lambda: loaded_into(a_network(), file), forged=True)


@entry("weights of other programs, bytes")
def _(folder: Path) -> Entry:
    file = folder / "weights.pth"
    torch.save({"epoch": 3, "args": {"lr": 0.1}, "state_dict": dict(a_network().state_dict())}, file)
    return of_bytes(file, lambda: loaded_into(a_network(), file), SAFETENSORS, legal=True)


def loaded_into(model: nn.Module, file: Path) -> str:
    """Load weights and return what the model holds then."""
    from refconv.models.weights import load_state

    load_state(model, read_weights(file), where=str(file))
    return digest_of(dict(model.state_dict()))


SAFETENSORS = safetensors.torch.save({"a": torch.zeros(3)})
"""What files are swapped for."""


@entry("given masks")
def _(folder: Path) -> Entry:
    file = folder / "masks.safetensors"
    layers = list(find_layers(a_network()))
    safetensors.torch.save_file({layer.name: layer.weight > 0 for layer in layers}, file)
    return of_bytes(file, lambda: [m.tolist() for _, m in matched(read_masks(file), layers)], SAFETENSORS, legal=True)


@entry("exported file, what it says")
def _(folder: Path) -> Entry:
    import onnx

    file = folder / "net.onnx"
    export_small(file)
    content = onnx.load(file)
    said = {prop.key: prop.value for prop in content.metadata_props}
    tree = {key: parsed(value) for key, value in said.items()}

    def made(seed: int, count: int) -> Iterator[Mutant]:
        for name, changed in tree_mutants(tree, seed, count):
            del content.metadata_props[:]
            for key, value in changed.items():
                text = value if isinstance(value, str) else json_bytes(value).decode()
                content.metadata_props.add(key=str(key).encode(errors="replace"), value=text.encode(errors="replace"))
            yield name, content.SerializeToString()

    def read() -> Any:
        found = open_model(str(file), exported=True)
        shown = [found.name, dict(found.arguments), found.task, list(found.class_names), input_of(found).to_dict()]
        return digest_of([*shown, found.model.names, found.model.takes_bytes])

    return Entry(file, read, made, legal=True)


def export_small(file: Path) -> None:
    """Export a small network for images of 32 x 32."""
    model = timm.create_model("test_resnet", num_classes=3).eval()
    refconv.export(model, file, images=torch.zeros(2, 3, 32, 32), preprocessing={"input_size": [3, 32, 32]})


def parsed(text: str) -> Any:
    """Return what a text says as JSON, or the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def exported_of(name: str) -> Callable[[Path], Entry]:
    """Return an entry point of exported files: ``NAME.bin`` holds the weights of ``NAME.xml``."""

    def make(folder: Path) -> Entry:
        damaged = folder / name
        file = damaged.with_suffix(".xml") if damaged.suffix == ".bin" else damaged
        export_small(file)

        def read() -> Any:
            with trusting(True):  # a program may be opened only then
                found = open_model(str(file), exported=True)
            outputs = found.model(torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32))
            return digest_of([found.name, dict(found.arguments), found.task, outputs])

        return of_bytes(damaged, read, SAFETENSORS)

    return make


for _kind in ("net.torchscript", "net.pt2", "net.onnx", "net.xml", "net.bin"):
    ENTRIES[f"exported file, {_kind.partition('.')[2]}"] = exported_of(_kind)


# Records


@entry("record, bytes")
def _(folder: Path) -> Entry:
    run = a_model(folder).parent
    return of_bytes(run / "record.json", lambda: record_as_values(run), b"{}")


@entry("record, structure")
def _(folder: Path) -> Entry:
    run = a_model(folder).parent
    return of_json(run / "record.json", lambda: record_as_values(run))


@entry("record, structure with another digest")
def _(folder: Path) -> Entry:
    run = a_model(folder).parent
    return of_json(run / "record.json", lambda: record_as_values(run), forged=True)


def record_as_values(run: Path) -> Any:
    """Read the record of a run as studies, reports and exports do."""
    record = RunRecord.read(run / "record.json")
    return record.to_json(), str(record), [str(result) for result in results_of(located(run))]


def an_adopted_folder(folder: Path) -> tuple[Path, Callable[[], Any]]:
    """Adopt weights, and return the record in their folder and what reads it."""
    model = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    refconv.adopt(model, "test_resnet", folder / "adopted", data="digits", preprocessing={"img_size": 32})
    file = folder / "adopted" / "adopted.json"

    def read() -> Any:
        found = located(file.parent)
        recipe = found.recipe()
        said = [str(result) for result in results_of(found)], certificate_of(file.parent)
        return said, None if recipe is None else recipe.to_dict(), opened_as_values(file.parent)

    return file, read


@entry("adopted.json, bytes")
def _(folder: Path) -> Entry:
    return of_bytes(*an_adopted_folder(folder), b"{}")


@entry("adopted.json, structure")
def _(folder: Path) -> Entry:
    return of_json(*an_adopted_folder(folder))


@entry("adopted.json, structure with another digest")
def _(folder: Path) -> Entry:
    return of_json(*an_adopted_folder(folder), forged=True)


@entry("certificate")
def _(folder: Path) -> Entry:
    file = folder / "certificate.json"
    model = a_network()
    refconv.verify(model, copy.deepcopy(model), torch.zeros(1, 3, 8, 8)).write(file)
    return of_json(file, lambda: (Certificate.read(file).to_json(), str(Certificate.read(file))))


@entry("certificate with another digest")
def _(folder: Path) -> Entry:
    file = folder / "certificate.json"
    model = a_network()
    refconv.verify(model, copy.deepcopy(model), torch.zeros(1, 3, 8, 8)).write(file)
    return of_json(file, lambda: (Certificate.read(file).to_json(), str(Certificate.read(file))), forged=True)


def a_journal(folder: Path) -> tuple[Path, Callable[[], Any]]:
    """Write a journal of two runs, and return what restores it."""
    recipe = small_recipe()
    finished_run(folder / "run", recipe)
    record = RunRecord.read(folder / "run/record.json").to_dict()
    entries = [
        {"run": "final/a/seed-0", "recipe": recipe.to_dict(), "record": record, "diverged": None},
        {"run": "final/b/seed-0", "recipe": recipe.to_dict(), "record": None, "diverged": "the loss is not finite"},
    ]
    file = folder / "runs.jsonl"
    file.write_text("".join(json.dumps(with_digest(entry)) + "\n" for entry in entries))

    def read() -> Any:
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        Journal(file, out).restore()
        return {str(path.relative_to(out)): path.read_text() for path in sorted(out.rglob("*")) if path.is_file()}

    return file, read


@entry("journal, bytes")
def _(folder: Path) -> Entry:
    # A run whose line is gone is run again, so that lines may go, and nothing else.
    return replace(of_bytes(*a_journal(folder), b"{}\n"), same=lambda found, whole: found.items() <= whole.items())


@entry("journal, structure with another digest")
def _(folder: Path) -> Entry:
    file, read = a_journal(folder)
    first, second = (without_digest(json.loads(line)) for line in file.read_text().splitlines())

    def made(seed: int, count: int) -> Iterator[Mutant]:
        for name, changed in tree_mutants(first, seed, count):
            yield name, json_bytes(signed(changed)) + b"\n" + json_bytes(with_digest(second)) + b"\n"

    return Entry(file, read, made, legal=True)


def an_analysis(folder: Path) -> tuple[Path, Callable[[], Any]]:
    """Write an analysis with many records, and return what reports on it."""
    place = folder / "analysis"
    place.mkdir()
    found = tests_of_reports().pairs.__wrapped__()[1]
    found.facts.write(place / "pair.json")
    for name, record in found.records.items():
        record.write(place / f"{name}.json")

    def read() -> Any:
        with mock.patch.object(pictures, "data_uri", lambda image: f"data:,{zlib.crc32(image.tobytes())}"):  # at once
            write_report([read_pair(place)], folder / "report.html")
        return (folder / "report.html").read_bytes()

    return place, read


@functools.cache
def tests_of_reports() -> Any:
    """Return the module whose pairs have the records of all measures."""
    file = Path(__file__).parents[1] / "report" / "conftest.py"
    spec = importlib.util.spec_from_file_location("reports_of_tests", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@entry("analysis, facts")
def _(folder: Path) -> Entry:
    place, read = an_analysis(folder)
    return of_json(place / "pair.json", read, forged=True)


@entry("analysis, facts, bytes")
def _(folder: Path) -> Entry:
    place, read = an_analysis(folder)
    return of_bytes(place / "pair.json", read, b"{}")


@entry("analysis, a record of each measure")
def _(folder: Path) -> Entry:
    """Change one record after another; each is drawn on a page of its own, together with the facts."""
    place, read = an_analysis(folder)
    files = [file for file in sorted(place.glob("*.json")) if file.name != "pair.json"]
    groups: dict[str, dict[Path, bytes]] = {}  # the records of a measure: one, or that of each model
    for file in files:
        groups.setdefault(measure_of(file.stem), {})[file] = file.read_bytes()
        file.unlink()
    facts = place / "pair.json"

    def made(seed: int, count: int) -> Iterator[Mutant]:
        for group in groups.values():
            file, content = next(iter(group.items()))
            tree = without_digest(json.loads(content))
            for other, whole in group.items():
                other.write_bytes(whole)
            for name, changed in tree_mutants(tree, seed, count // len(groups) + 1):
                file.write_bytes(json_bytes(signed(changed)))
                yield f"{file.stem}: {name}", facts.read_bytes()
            for other in group:
                other.unlink()

    return Entry(facts, read, made, legal=True)


@entry("recipe, structure")
def _(folder: Path) -> Entry:
    file = folder / "recipe.toml"
    file.write_text(small_recipe(opt="adamw", lr=0.1, mean=(0.5,), std=(0.5,)).to_toml({"torch": "2"}))
    return of_toml(file, lambda: Recipe.from_toml(file).to_dict())


@entry("recipe, bytes")
def _(folder: Path) -> Entry:
    file = folder / "recipe.toml"
    file.write_text(small_recipe(opt="adamw", lr=0.1).to_toml({"torch": "2"}))
    return of_bytes(file, lambda: Recipe.from_toml(file).to_dict(), b"a = 1\n", legal=True)


@entry("recipe of a run, bytes")
def _(folder: Path) -> Entry:
    file = RunFolder(folder).recipe_file
    file.write_text(small_recipe(opt="adamw", lr=0.1).to_toml({"torch": "2"}))
    return of_bytes(file, lambda: RunFolder(folder).recipe().to_dict(), b"a = 1\n")


@entry("study, structure")
def _(folder: Path) -> Entry:
    file = folder / "study.toml"
    file.write_text(tomli_w.dumps(TINY))
    return of_toml(file, lambda: repr(read_study(file)))


@entry("study, bytes")
def _(folder: Path) -> Entry:
    file = folder / "study.toml"
    file.write_text(tomli_w.dumps(TINY))
    return of_bytes(file, lambda: repr(read_study(file)), b"a = 1\n", legal=True)


@entry("plan of an improvement")
def _(folder: Path) -> Entry:
    file = folder / "plan.json"
    improvement_record().plan.write(file)
    return of_json(file, lambda: SearchPlan.read(file).to_json())


@entry("plan of an improvement with another digest")
def _(folder: Path) -> Entry:
    file = folder / "plan.json"
    improvement_record().plan.write(file)
    return of_json(file, lambda: SearchPlan.read(file).to_json(), forged=True)


@entry("record of an improvement with another digest")
def _(folder: Path) -> Entry:
    model = a_model(folder)
    (model.parent / "record.json").unlink()
    file = model.parent / "improve.json"
    improved = improvement_record()
    replace(improved, plan=replace(improved.plan, recipe=small_recipe().to_dict())).write(file)
    (model.parent / "recipe.toml").unlink()

    def read() -> Any:
        found = located(model.parent)
        recipe = found.recipe()
        return [str(result) for result in results_of(found)], None if recipe is None else recipe.to_dict()

    return of_json(file, read, forged=True)


@entry("metrics.jsonl")
def _(folder: Path) -> Entry:
    run = RunFolder(folder)
    with Metrics(run) as metrics:
        for step in range(1, 9):
            metrics.write("train", step=step, epoch=step / 4, loss=1 / step)
        length, written = metrics.saved_length(), metrics.hash()
    original = run.metrics_file.read_bytes()

    def read() -> Any:
        import warnings

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with Metrics(run, length=length, written=written):
                pass
        found = run.metrics_file.read_bytes()
        return found == original or any("was changed" in str(one.message) for one in said)

    return of_bytes(run.metrics_file, read, b"{}\n")


# Data


def table_of(name: str, ending: str) -> Callable[[Path], Entry]:
    """Return an entry point of tables of targets."""

    def make(folder: Path) -> Entry:
        write_tables(folder, count=6)
        file = folder / f"{name}.csv"
        if ending == "json":
            rows = list(csv.DictReader(file.read_text().splitlines()))
            file = folder / f"{name}.json"
            file.write_text(json.dumps([{**row, name: float(row["bright"])} for row in rows]))

        def read() -> Any:
            data = open_data(f"table:{file}", wanted=WANTED)
            return [[values.tolist() for values in batch] for batch in data.eval_batches("test", batch_size=8)]

        if ending == "json":
            return of_json(file, read, legal=True)
        return of_bytes(file, read, b"a,b\n1,2\n", legal=True)

    return make


WANTED = Wanted(kind="labels")
ENTRIES["table, CSV"] = table_of("labels", "csv")
ENTRIES["table, JSON"] = table_of("one", "json")


@entry("class map, JSON")
def _(folder: Path) -> Entry:
    file = folder / "map.json"
    file.write_text(json.dumps({"cat": "tabby", "dog": 3, "n01440764_tench": "tench"}))
    return of_json(file, lambda: dict(read_class_map(file)), legal=True)


@entry("class map, CSV")
def _(folder: Path) -> Entry:
    file = folder / "map.csv"
    file.write_text("cat,tabby\ndog,3\n# a note\nn01440764_tench,tench\n")
    return of_bytes(file, lambda: dict(read_class_map(file)), b"x,y,z\n", legal=True)


def annotations_as_values(parts: Any) -> str:
    """Return all that annotations hold."""
    return repr(
        [
            (part.boxes.tolist(), part.labels.tolist(), part.sizes.tolist(), part.areas.tolist(), part.class_names)
            for part in (parts.train, parts.test)
        ]
    )


@entry("COCO, structure")
def _(folder: Path) -> Entry:
    file = coco(folder)
    return of_json(file, lambda: annotations_as_values(coco_annotations(folder, masks=True)), legal=True)


@entry("COCO, bytes")
def _(folder: Path) -> Entry:
    file = coco(folder)
    return of_bytes(file, lambda: annotations_as_values(coco_annotations(folder, masks=True)), b"{}", legal=True)


def coco(folder: Path) -> Path:
    """Write two images with objects; return the file of the training split."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    found: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "thing"}]}
    for number in (1, 2):
        Image.new("RGB", (16, 20)).save(folder / "images" / f"{number}.png")
        found["images"].append({"id": number, "file_name": f"{number}.png", "width": 16, "height": 20})
        for index, (x, y) in enumerate(((1, 1), (4, 6))):
            found["annotations"].append({
                "id": 2 * number + index, "image_id": number, "category_id": 3, "bbox": [x, y, 5, 4], "area": 20,
                "iscrowd": index, "segmentation": [[x, y, x + 5, y, x + 5, y + 4, x, y + 4]] if not index else
                {"size": [20, 16], "counts": [100, 20, 200]},
            })  # fmt: skip
    for split in ("train", "val"):
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(found))
    return folder / "annotations" / "instances_train.json"


@entry("VOC, annotation")
def _(folder: Path) -> Entry:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (16, 20)).save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>16</width><height>20</height><depth>3</depth>"
            "</size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax>"
            "<ymax>12</ymax></bndbox></object></annotation>"
        )
    (folder / "ImageSets/Main/train.txt").write_text("a\n")
    (folder / "ImageSets/Main/test.txt").write_text("b\n")
    file = folder / "Annotations" / "a.xml"
    tokens = file.read_text()

    def made(seed: int, count: int) -> Iterator[Mutant]:
        import re

        bombs = {
            "entities": '<!DOCTYPE a [<!ENTITY a "' + "x" * 1000 + '">' + "".join(
                f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
            ) + "]><annotation><filename>&j;</filename></annotation>",
            "outside": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
            "nested": "<a>" * 100_000,
        }  # fmt: skip
        yield from ((name, text.encode()) for name, text in bombs.items())
        values = re.findall(r">([^<>]+)<", tokens)
        others = (
            "",
            "nan",
            "inf",
            "-1",
            "1e308",
            "9" * 5000,
            "x",
            "\x1b[31m",
            "1.5",
            "../../x",
            "0",
            "99999999999",
            "\u202e",
        )
        for value in values:
            for other in others:
                yield f"{value} is {other[:20]!r}", tokens.replace(f">{value}<", f">{other}<", 1).encode()
        yield from bytes_mutants(tokens.encode(), seed, count - len(values) * len(others), b"<a/>")

    return Entry(file, lambda: annotations_as_values(voc_annotations(folder)), made, legal=True)


@entry("VOC, list")
def _(folder: Path) -> Entry:
    write_voc(folder, splits={"train": 2, "val": 2})
    file = folder / "ImageSets/Segmentation/train.txt"
    return of_bytes(file, lambda: opened_masks(f"voc:{folder}"), b"x\n", legal=True)


@entry("masks, classes.txt")
def _(folder: Path) -> Entry:
    write_masks(folder, splits={"train": 2, "val": 2})
    return of_bytes(folder / "classes.txt", lambda: opened_masks(f"masks:{folder}"), b"x\n", legal=True)


@entry("masks, class map of an image")
def _(folder: Path) -> Entry:
    write_masks(folder, splits={"train": 2, "val": 2})
    file = folder / "masks/train/00.png"
    return of_bytes(
        file, lambda: (opened_masks(f"masks:{folder}"), read_mask(str(file)).tolist()), SAFETENSORS, legal=True
    )


def opened_masks(name: str) -> Any:
    """Open a data set of masks and read its first batch."""
    from refconv.tasks.segmentation.data import SegmentationData

    data = SegmentationData(name)
    images, targets = next(data.eval_batches("train", batch_size=2))
    return digest_of([images, targets, list(data.info.class_names)])


def image_bytes(kind: str) -> bytes:
    """Return a small image of a format."""
    drawn = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    Image.fromarray(drawn).save(buffer, format=kind, **({"exif": exif} if kind in {"JPEG", "PNG", "WEBP"} else {}))
    return buffer.getvalue()


def image_of(kind: str) -> Callable[[Path], Entry]:
    """Return an entry point of images of a format."""

    def make(folder: Path) -> Entry:
        file = folder / "image.jpg"
        file.write_bytes(image_bytes(kind))

        def read() -> Any:
            size = sizes_of(str(file))
            return size, digest_of(torch.from_numpy(np.array(decode(file))))

        return of_bytes(file, read, SAFETENSORS, legal=True)

    return make


for _kind in ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000"):
    ENTRIES[f"image, {_kind}"] = image_of(_kind)


@entry("image of many channels, TIFF")
def _(folder: Path) -> Entry:
    import tifffile

    file = folder / "image.tif"
    tifffile.imwrite(file, np.random.default_rng(0).random((5, 12, 16), dtype=np.float32))
    return of_bytes(file, lambda: digest_of(read_tensor(str(file))[0]), SAFETENSORS, legal=True)


@entry("array, .npy")
def _(folder: Path) -> Entry:
    file = folder / "a.npy"
    np.save(file, np.random.default_rng(0).random((3, 8, 8)))
    return of_bytes(file, lambda: digest_of(read_tensor(str(file))[0]), SAFETENSORS, legal=True)


def some_arrays() -> dict[str, Any]:
    """Return a small set of samples and targets."""
    draw = np.random.default_rng(0)
    return {
        f"{role}_{split}": draw.random((8, 1, 6, 6)).astype(np.float32) if role == "x" else np.arange(8) % 2
        for role in "xy"
        for split in ("train", "test")
    }


@entry("arrays, .npz")
def _(folder: Path) -> Entry:
    file = folder / "set.npz"
    np.savez_compressed(file, **some_arrays())
    return of_bytes(file, lambda: opened_arrays(file), SAFETENSORS, legal=True)


@entry("arrays, folder")
def _(folder: Path) -> Entry:
    for name, values in some_arrays().items():
        np.save(folder / f"{name}.npy", values)
    return of_bytes(folder / "x_train.npy", lambda: opened_arrays(folder), SAFETENSORS, legal=True)


def opened_arrays(path: Path) -> Any:
    """Open arrays and read all samples."""
    open_arrays(path)
    data = open_data(f"arrays:{path}")
    return digest_of([list(batch) for batch in data.eval_batches("train", batch_size=4)])


def sound_of(ending: str) -> Callable[[Path], Entry]:
    """Return an entry point of sounds of a format."""

    def make(folder: Path) -> Entry:
        import soundfile

        file = folder / f"a.{ending}"
        soundfile.write(file, np.sin(np.arange(800) / 5), 8000)
        return of_bytes(file, lambda: read_tensor(str(file))[0].tolist(), SAFETENSORS, legal=True)

    return make


for _kind in ("wav", "flac", "ogg"):
    ENTRIES[f"sound, {_kind}"] = sound_of(_kind)


def a_shard(folder: Path) -> Path:
    """Write shards of webdataset."""
    for split in ("train", "val"):
        with tarfile.open(folder / f"{split}-0.tar", "w") as tar:
            for number in range(4):
                label = json.dumps({"label": number % 2}).encode() if number % 3 else str(number % 2).encode()
                for name, content in (
                    (f"{number}.png", image_bytes("PNG")), (f"{number}.{'json' if number % 3 else 'cls'}", label)
                ):  # fmt: skip
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return folder / "train-0.tar"


@entry("shard of webdataset")
def _(folder: Path) -> Entry:
    file = a_shard(folder)

    def read() -> Any:
        data = open_data(f"wds:{folder}", img_size=8)
        return digest_of([list(batch) for batch in data.eval_batches("train", batch_size=4)])

    return of_bytes(file, read, SAFETENSORS, legal=True)


@entry("shard of webdataset, labels")
def _(folder: Path) -> Entry:
    a_shard(folder)
    (folder / "train-0.tar").unlink()
    file = folder / "train-1.tar"

    def made(seed: int, count: int) -> Iterator[Mutant]:
        labels = [json_bytes(tree) for _, tree in tree_mutants({"label": 1, "more": [1, {"x": 2}]}, seed, count // 2)]
        labels += [content for _, content in bytes_mutants(b'{"label": 1}', seed, count - len(labels), b"[]")]
        for number, label in enumerate(labels):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as tar:
                for name, content in (("a.png", image_bytes("PNG")), ("a.cls" if number % 2 else "a.json", label)):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
            yield f"{label[:60]!r}", buffer.getvalue()

    def read() -> Any:
        data = open_data(f"wds:{folder}", img_size=8)
        return digest_of([list(batch) for batch in data.eval_batches("train", batch_size=4)])

    file.write_bytes(next(made(0, 2))[1])
    return Entry(file, read, made, legal=True)


@entry("idx.gz")
def _(folder: Path) -> Entry:
    def idx(values: np.ndarray[Any, Any]) -> bytes:
        head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
        return gzip.compress(head + values.tobytes(), mtime=0)

    draw = np.random.default_rng(0)
    for name in sources.FILES:
        labels = "labels" in name
        values = np.arange(20, dtype=np.uint8) % 10 if labels else draw.integers(0, 255, (20, 28, 28), dtype=np.uint8)
        (folder / f"{name}.gz").write_bytes(idx(values))

    def read() -> Any:
        data = open_data("fashion-mnist", root=str(folder))
        return digest_of([list(batch) for batch in data.eval_batches("test", batch_size=20)])

    return of_bytes(folder / f"{sources.FILES[2]}.gz", read, SAFETENSORS, legal=True)
