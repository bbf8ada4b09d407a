"""A model folder as a hub of models wants it: weights, config.json, preprocessing, and a card."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from refconv.data.preprocessing import Preprocessing
from refconv.errors import CheckpointError, ModelError, SettingError
from refconv.exporting.card import Described, card
from refconv.exporting.licences import warn_unless_known
from refconv.exporting.pushing import check_repository
from refconv.exporting.results import results_of
from refconv.models.builders import build, is_timm, published_at
from refconv.models.metadata import certificate_of, versions
from refconv.models.model_folder import LOCAL, PREPROCESSOR, README, load_model_folder, read_config
from refconv.models.opening import Opened
from refconv.models.run_folder import write_whole
from refconv.models.saving import save_opened

NAME_IT = "say in Python what builds it by architecture='module:function', timm's name or 'torchvision:NAME'"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_IDENTIFIER = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class HubConfig:
    """What a card says that a network does not know, and where the folder is sent.

    Raises:
        SettingError: if there is no licence, or a name is none of the hub's.
    """

    license: str | None = None  #: identifier of the hub, such as ``apache-2.0``, or ``unknown``; always needed
    license_name: str | None = None  #: with ``other``: its name
    license_link: str | None = None  #: with ``other``: where it is
    base_model: str | None = None  #: repository of the model that this one comes from; else as the run says
    datasets: tuple[str, ...] = ()  #: data sets of the hub that the model was trained on
    push: str | None = None  #: ``USER/NAME`` of the repository that the folder is sent to
    private: bool = False  #: whether a new repository is private
    #: what builds the network: timm's name, ``torchvision:NAME`` or ``module:function``; else as the network says
    architecture: str | None = None
    #: arguments that the network is built with, such as ``{"act_layer": "gelu"}``, beside those that are known
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.license is None:
            expected = "an identifier such as apache-2.0, or unknown"
            remedy = "a licence is not guessed: give --license, in Python license"
            raise SettingError("missing", where="license", expected=expected, remedy=remedy)
        if not _LICENCE.fullmatch(self.license):
            expected = "a lower-case identifier such as apache-2.0, mit, cc-by-nc-4.0, other or unknown"
            raise SettingError("not a licence", where="license", expected=expected, found=repr(self.license))
        warn_unless_known(self.license)
        named = self.license_name is not None or self.license_link is not None
        if named != (self.license == "other"):
            expected = "both with the licence other, and neither with another one"
            raise SettingError("do not fit", where="license_name, license_link", expected=expected, found=self.license)
        for name, given in (("base_model", self.base_model), *(("datasets", one) for one in self.datasets)):
            if given is not None and not _IDENTIFIER.fullmatch(given):
                raise SettingError("not a name of the hub", where=name, expected="USER/NAME", found=repr(given))
        if self.push is not None:
            check_repository(self.push)
        elif self.private:
            raise SettingError("has no effect without push", where="private")

    def named(self, opened: Opened) -> Opened:
        """Return a model with the name and the arguments by which it is built again."""
        arguments = {**opened.arguments, **self.model_kwargs}
        return replace(opened, name=self.architecture or opened.name, arguments=arguments)

    @property
    def licence(self) -> dict[str, str]:
        """The licence under the hub's names."""
        names = ("license", "license_name", "license_link")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def write_hub_folder(opened: Opened, out: Path, used: Preprocessing, config: HubConfig) -> tuple[Path, ...]:
    """Write the folder of a merged model, and return its files."""
    if used.color_mode == "BGR":
        what, remedy = (
            "timm and transformers give RGB, and the network takes BGR",
            "export it as onnx with preprocessing",
        )
        raise ModelError(what, where="format hub", found=opened.name, remedy=remedy)
    located = opened.located
    folder = located.path if located is not None and located.kind == "folder" else None
    results, proof = results_of(located), "" if folder is None else certificate_of(folder)
    try:
        save_opened(out, opened, used, proof)
    except (CheckpointError, ModelError) as error:
        if located is not None:  # a folder or a run, which was built by its name
            raise
        found = ": ".join(filter(None, (error.what, error.found)))
        remedy = f"{NAME_IT}, and with what arguments by model_kwargs={{...}}"
        what = "the given network cannot be built by this name and the known arguments"
        raise ModelError(what, where=opened.name, found=found, remedy=remedy) from error
    stored = read_config(out)
    described = Described(
        title=(config.push or out.resolve().name).rpartition("/")[2], repository=config.push or f"USER/{out.name}",
        architecture=stored["architecture"], task=opened.task, timm=is_timm(stored["architecture"]),
        licence=config.licence, base=config.base_model or _base(opened), datasets=config.datasets or _datasets(opened),
        results=results, preprocessing=str(replace(used, sources={})), class_names=_names(opened),
        history=_history(opened), certificate=proof, versions=versions(),
    )  # fmt: skip
    if described.timm:
        write_whole(out / PREPROCESSOR, (json.dumps(_preprocessor(stored, used), indent=2) + "\n").encode())
    write_whole(out / README, card(described).encode())
    return tuple(sorted(out.iterdir()))


def _preprocessor(stored: Mapping[str, Any], used: Preprocessing) -> dict[str, Any]:
    """Return what transformers reads about the input.

    ``TimmWrapperImageProcessor`` builds timm's own transform from ``pretrained_cfg``. The other entries say the same to
    programs that only know transformers' usual names.
    """
    import PIL.Image

    height, width = used.size
    resized = {"shortest_edge": int(min(height, width) / used.crop_pct)}
    if used.crop_mode == "squash":
        resized = {"height": int(height / used.crop_pct), "width": int(width / used.crop_pct)}
    resampling = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "nearest": "NEAREST"}[used.interpolation]
    return {
        "image_processor_type": "TimmWrapperImageProcessor",
        "architecture": stored["architecture"],
        "pretrained_cfg": stored["pretrained_cfg"],
        "do_resize": True,
        "size": resized,
        "resample": int(PIL.Image.Resampling[resampling]),
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(used.mean),
        "image_std": list(used.std),
    }


def _base(opened: Opened) -> str | None:
    """Return the hub's repository of the weights that a run started from, where it is known and not only guessed."""
    recipe = opened.recipe
    name = opened.name if opened.located is None else recipe.model if recipe is not None and recipe.pretrained else ""
    return published_at(name)


def _datasets(opened: Opened) -> tuple[str, ...]:
    """Return the hub's name of the data that a run was trained on, where it is one."""
    kind, _, name = ("" if opened.recipe is None else opened.recipe.data).partition("/")
    return (name,) if kind in {"hfds", "hfids"} and name else ()


def _names(opened: Opened) -> tuple[str, ...]:
    count = opened.arguments.get("num_classes") or getattr(opened.model, "num_classes", None) or 0
    names = tuple(opened.class_name(index) for index in range(count))
    return () if names == tuple(map(str, range(count))) else names


def _history(opened: Opened) -> list[str]:
    """Return how the weights came about, as far as a recipe says it."""
    recipe = opened.recipe
    if recipe is None or not (recipe.pretrained or recipe.checkpoint):
        return []
    how = "with refocusing convolution" if recipe.method == "refocus" else f"by the method `{recipe.method}`"
    return [f"A pretrained network was trained further {how} by refconv ([RefConv](https://arxiv.org/abs/2310.10563))."]


def loaded(folder: Path) -> tuple[nn.Module, str]:
    """Load a hub folder as its users do, and return the network and the name of what loaded it."""
    if not is_timm(read_config(folder)["architecture"]):
        return load_model_folder(folder).eval(), f"refconv {versions()['refconv']}"
    return build(f"{LOCAL}{folder}", pretrained=True).eval(), f"timm {versions()['timm']}"


def layers(model: nn.Module) -> dict[str, int]:
    """Count the layers of a network by their class, as exported files count operations."""
    kinds = (type(module).__name__ for module in model.modules() if next(module.children(), None) is None)
    return dict(Counter(kinds))
