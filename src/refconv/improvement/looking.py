"""The look before anything is trained: the data, the network as it is, what a step costs, and the plan."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from refconv.data.dataset import bytes_of, sampled
from refconv.engine.setup import Setup, open_setup
from refconv.engine.start import at_chance
from refconv.engine.stepping import medians, step_seconds
from refconv.errors import ModelError, RunError, SettingError
from refconv.improvement.config import ImproveConfig
from refconv.improvement.contenders import Contender, able, contenders, recipe_of
from refconv.improvement.halving import Round, budget_for, rounds
from refconv.improvement.record import Entry, SearchPlan
from refconv.improvement.scoring import Score
from refconv.methods.registry import method_of
from refconv.models.model_folder import check_model_place, locate
from refconv.models.run_folder import RunFolder
from refconv.process.distributed import Processes, choose_device
from refconv.recipe.recipe import Recipe
from refconv.recipe.timm_names import scaled_rate
from refconv.studies.estimate import clock
from refconv.surgery import plain_state_dict
from refconv.task_measures import measures_of
from refconv.tasks.classification.evaluation import ClassificationEvaluation
from refconv.tasks.registry import task_of

VAL_SPLIT = 0.1
"""Share of the training data that is validated on where the data has no validation split and none is asked for."""

_FEWEST_STEPS = 36  #: Of an epoch, where no batch size is given: halving a batch with as many goes further from 50
_LEAST = 50  #: Steps below which a run is not worth its start; fewer where an epoch has fewer
_SHORTEST = 1000  #: Steps from which on a run tells how it would go on; two epochs, where these have fewer
EARLIER = 5  #: Runs of the round before the last, the best ones, that are combined with the finalists
VARIANTS = 3  #: Weights of each run that are candidates: its moving average, its last ones, and the mean of its tail
_TURNS = 5
_FEW = 500  #: Validation samples below which a note is made


def completed(recipe: Recipe, given: Sequence[str]) -> Recipe:
    """Return the common recipe with what the data decide: a validation split, and a batch size if none was given.

    Where none is given either, the learning rate, whose default is for the batch size of recipes, follows the batch
    size as in timm's train.py: in proportion, or with the root for Adam and its like.
    """
    if recipe.method != "plain":
        raise SettingError("improve chooses the method itself", where="method", found=repr(recipe.method))
    if not (recipe.pretrained or recipe.checkpoint is not None):
        remedy = "give --checkpoint or --pretrained, in Python checkpoint or pretrained"
        raise SettingError("improve needs a trained network", where="checkpoint", remedy=remedy)
    info = task_of(recipe).open_data(recipe).info
    if not info.val_size:
        recipe = dataclasses.replace(recipe, val_split=VAL_SPLIT)
        info = task_of(recipe).open_data(recipe).info
    if "batch_size" not in given:
        size = recipe.batch_size
        while size > 8 and info.train_size // size < _FEWEST_STEPS:
            size //= 2
        rate = recipe.lr
        if "lr" not in given:
            rate = scaled_rate(rate, batch_size=size, base_size=recipe.batch_size, opt=recipe.opt)
        recipe = dataclasses.replace(recipe, batch_size=size, lr=rate)
    return dataclasses.replace(recipe, test=False, epochs=max(recipe.epochs, math.ceil(recipe.warmup_epochs)))


def open_base(recipe: Recipe) -> Setup:
    """Open the data and the network as it is."""
    return open_setup(method_of(recipe), Processes(0, 1, choose_device(recipe.device)))


def check_base(setup: Setup, base: Score, say: Callable[[str], None], *, check: bool) -> None:
    """Compare the network as it is with what is known about it, before hours are spent on a broken input."""
    if not base.finite:
        raise ModelError(
            "its outputs on this data are not finite", where=setup.recipe.model, remedy="check weights and input"
        )
    top1, loss = base.value, base.loss or 0.0
    warning = at_chance(ClassificationEvaluation(base.samples, top1, top1, loss), setup) if base.hits else None
    if warning is not None and check:
        raise ModelError(
            warning.removeprefix("warning: ").partition(": check")[0],
            where=setup.recipe.model,
            expected="a trained network that knows these classes",
            remedy="check class names and preprocessing with refconv eval, or train it anyway by --no-check, in Python "
            "check=False",
        )
    if warning is not None:
        say(warning)
    if base.hits and base.samples < _FEW:
        say(f"note: {base.samples} validation samples tell differences of a few points apart, not smaller ones")
    if not base.hits and base.interval is None:
        say(f"note: {base.samples} validation samples are too few to tell differences apart, so nothing can be chosen")
    claimed = _claimed(setup.recipe, base.measure)
    bounds = base.interval
    if claimed is not None and bounds is not None and not bounds[0] - 0.05 <= claimed <= bounds[1] + 0.05:
        say(
            f"note: its run had {base.about.label} {base.about.said(claimed)} on its own test split, and here it has "
            f"{base}: other data, or another preprocessing"
        )


def _claimed(recipe: Recipe, measure: str) -> float | None:
    """Return what the run that the weights come from measured on its test split."""
    found = None if recipe.checkpoint is None or recipe.reset_classifier else locate(recipe.checkpoint)
    if found is None or found.path.is_file():
        return None
    from refconv.engine.run_record import RunRecord

    path = next((p for p in (found.path / "record.json", found.path.parent / "record.json") if p.is_file()), None)
    try:
        return None if path is None else RunRecord.read(path).measure(measure)
    except (OSError, ValueError, TypeError):
        return None


def check_seen(base: Score, tested: Score | None, say: Callable[[str], None]) -> None:
    """Warn if the network does clearly better on the validation split than on the test split.

    The usual reason is that it was trained on the validation samples, which then tell too little of what is better.
    """
    if tested is None or not (base.hits and tested.hits):
        return
    shares = [(one.value, one.samples) for one in (base, tested)]
    error = math.sqrt(sum(share * (1 - share) / samples for share, samples in shares))
    if base.value - tested.value > 3 * max(error, 1 / base.samples):
        say(
            f"warning: the network does better on the validation samples ({base.about.said(base.value)}) than on the "
            f"test samples ({base.about.said(tested.value)}): it was probably trained on them, so validation can tell "
            "less; a validation split that it has not seen tells more"
        )


@dataclasses.dataclass(frozen=True)
class Look:
    """What was measured of the network as it is, and how long that took."""

    base: Score  #: on the validation split
    tested: Score | None  #: on the test split; None where the data has none
    notes: tuple[str, ...]  #: what was said
    opening: float  #: seconds that opening the data and the network took
    validating: float  #: seconds of one evaluation on the validation split

    def beside_training(self, found: Sequence[Round]) -> float:
        """Return the seconds that starting and judging all runs takes, with the combination of the last ones."""
        runs = sum(one.entries for one in found)
        combined = VARIANTS * (found[-1].entries + (min(EARLIER, found[0].entries) if len(found) > 1 else 0))
        return runs * (self.opening + self.validating) + 3 * combined * self.validating


def partakers(recipe: Recipe, config: ImproveConfig) -> tuple[tuple[Contender, ...], dict[str, str]]:
    """Return the contenders that take part, and of those that cannot, why."""
    teacher, weights = (recipe.model, recipe.checkpoint) if config.teacher == "base" else (config.teacher, None)
    return able(contenders(teacher, weights, config.contenders), recipe)


def planned(setup: Setup, recipe: Recipe, config: ImproveConfig, look: Look, jobs: int) -> SearchPlan:
    """Time the contenders and plan the rounds."""
    chosen, excluded = partakers(recipe, config)
    recipes = {one.name: recipe_of(one, recipe, one.factors[0]) for one in chosen}
    milliseconds = {name: 1000 * value for name, value in medians(step_seconds(recipes, _TURNS)).items()}
    plain = milliseconds.get("plain", min(milliseconds.values()))
    costs = {name: max(1.0, round(4 * value / plain) / 4) if "taught" in name else 1.0
             for name, value in milliseconds.items()}  # fmt: skip
    size = setup.samples_per_step
    per_sample = plain / 1000 / size
    samples = config.budget.samples(train_size=setup.info.train_size, seconds_per_sample=per_sample, jobs=jobs)
    order = _in_order(chosen)
    shortest = max(_LEAST, min(_SHORTEST, 2 * setup.steps_per_epoch))
    least = min(_LEAST, setup.steps_per_epoch)
    found = rounds(len(order), budget=samples / size, shortest=shortest, least=least)
    if config.budget.unit == "seconds":  # which is for everything; training gets half of it at least
        samples -= min(samples / 2, look.beside_training(found) / per_sample)
        found = rounds(len(order), budget=samples / size, shortest=shortest, least=least)
    if samples < size:
        raise SettingError(
            "the budget does not suffice for a step", where="budget", expected=f"at least {size} samples",
            found=f"{samples:.0f}",
        )  # fmt: skip
    entries = [
        Entry(one.name, one.title, recipe.lr * one.factors[place], costs[one.name])
        for one, place in order[: found[0].entries]
    ]
    training = sum(one.entries * one.steps for one in found) * plain / 1000
    waiting = tuple(one.name for one in chosen if one.name not in {entry.contender for entry in entries})
    enough: float = _enough([one.name for one, _ in order], shortest=shortest, least=least) * size
    if config.budget.unit == "seconds":
        every = rounds(len(order), budget=2 * enough / size, shortest=shortest, least=least)
        enough += min(enough, look.beside_training(every) / per_sample)
    whole = config.budget.for_samples(
        enough, train_size=setup.info.train_size, seconds_per_sample=per_sample, jobs=jobs
    )  # fmt: skip
    return SearchPlan(
        recipe=recipe.to_dict(),
        teacher=config.teacher,
        contenders=config.contenders,
        budget=str(config.budget),
        samples=int(samples),
        entries=tuple(entries),
        rounds=found,
        steps_per_epoch=setup.steps_per_epoch,
        excluded=excluded,
        step_ms=milliseconds,
        memory_mb=_memory(recipes, setup),
        seconds=(training + look.beside_training(found)) / jobs,
        train_samples=setup.info.train_size,
        base=look.base,
        base_tested=look.tested,
        notes=look.notes,
        fingerprint=fingerprint(setup),
        waiting=waiting,
        enough=whole if waiting else "",
    )


def _enough(names: Sequence[str], *, shortest: int, least: int) -> int:
    """Return the steps of all runs that suffice for an entry of every contender, given the names of all entries."""
    entries = 1 + max(names.index(name) for name in set(names))
    return budget_for(entries, shortest=shortest, least=least)


def fingerprint(setup: Setup) -> str:
    """Return a digest of the network's weights, the facts about the data, and a few samples of each split."""
    weights = bytes_of(list(plain_state_dict(setup.model).values()))
    return hashlib.sha256(sampled(setup.data, ("train", "val", "test")) + weights).hexdigest()


def check_place(out: Path) -> None:
    """Check, before anything is trained, that the result can be written."""
    if out.exists() and not out.is_dir():
        raise RunError("a file is there", where=str(out), expected="a folder", remedy="give another folder")
    RunFolder(out).refuse_run()
    check_model_place(out / "model")


def _in_order(chosen: Sequence[Contender]) -> list[tuple[Contender, int]]:
    """Return contenders with places of their learning rates, the most promising first.

    The simplest contender and the first refocused one begin, each at its first rate, and are followed by their other
    rates: runs of both at several rates are what a mean of weights gains most from.
    """
    refocused = next((one for one in chosen if one.name.startswith("refocus")), None)
    leading = [(one, place) for one, place in ((chosen[0], 0), (refocused, 0), (chosen[0], 1), (chosen[0], 2),
               (refocused, 1)) if one is not None]  # fmt: skip
    pairs = [(one, place) for place in range(3) for one in chosen]
    return list({(one.name, place): (one, place) for one, place in (*leading, *pairs)}.values())


def _memory(recipes: dict[str, Recipe], setup: Setup) -> dict[str, float]:
    """Return the most memory of an accelerator that a step of each recipe takes, in 2**20 bytes; none on a CPU."""
    device = setup.processes.device
    if device.type != "cuda":
        return {}
    found = {}
    for name, recipe in recipes.items():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        step_seconds({name: recipe}, 1)
        found[name] = torch.cuda.max_memory_allocated(device) / 2**20
    return found


def said(plan: SearchPlan) -> list[str]:
    """Return the plan in lines."""
    about = measures_of(str(plan.recipe["task"]))
    rows = [f"base: {plan.base} on {plan.base.samples:,} validation {about.samples}s"]
    if plan.base_tested is not None:
        rows.append(f"base: {plan.base_tested} on {plan.base_tested.samples:,} test {about.samples}s")
    for name, why in plan.excluded.items():
        rows.append(f"left out: {name}: {why}")
    times = ", ".join(f"{name} {value:.0f}" for name, value in plan.step_ms.items())
    rows.append(f"ms of a step of {plan.recipe['batch_size']} samples: {times}")
    if plan.memory_mb:
        rows.append("MB of a step: " + ", ".join(f"{n} {value:.0f}" for n, value in plan.memory_mb.items()))
    if plan.waiting:
        remedy = f"; a budget of about {plan.enough} tries all contenders" if plan.enough else ""
        rows.append(f"the budget does not suffice for: {', '.join(plan.waiting)}{remedy}")
    rates: dict[str, list[str]] = {}
    for entry in plan.entries:
        rates.setdefault(entry.contender, []).append(f"{entry.lr:g}")
    rows.append("learning rates: " + "; ".join(f"{name} {', '.join(found)}" for name, found in rates.items()))
    for number, one in enumerate(plan.rounds, 1):
        epochs = one.steps / plan.steps_per_epoch
        rows.append(f"round {number}: {one.entries} runs of {one.steps:,} steps ({epochs:.3g} epochs)")
    rows.append(f"chosen by {about.primary.label} on the validation split; about {clock(plan.seconds)} in all")
    return rows


def kept_plan(path: Path, setup: Setup, recipe: Recipe, config: ImproveConfig) -> SearchPlan:
    """Return the plan of an earlier call, if it is one for the same settings, weights and data."""
    try:
        known = SearchPlan.read(path)
        before = Recipe.from_mapping(known.recipe)
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            "cannot read the plan", where=str(path), found=str(error), remedy="give another folder"
        ) from error
    was, now = _wanted(before, known), _wanted(recipe, config)
    names = [
        *before.differences(recipe),
        *(name for name in ("budget", "teacher", "contenders") if was[name] != now[name]),
    ]
    if names:
        raise RunError(
            "the folder holds an improvement with other settings",
            where=str(path.parent),
            expected=", ".join(f"{name}={was[name]}" for name in names),
            found=", ".join(f"{name}={now[name]}" for name in names),
            remedy="give another folder, or remove the folder",
        )
    if known.fingerprint != fingerprint(setup):
        raise RunError(
            "the folder holds an improvement of other weights or on other data",
            where=str(path.parent),
            remedy="give another folder, or remove the folder",
        )
    return known


def contender_named(name: str, plan: SearchPlan) -> Contender:
    """Return a contender of a plan."""
    recipe = Recipe.from_mapping(plan.recipe)
    teacher, weights = (recipe.model, recipe.checkpoint) if plan.teacher == "base" else (plan.teacher, None)
    return next(one for one in contenders(teacher, weights, ()) if one.name == name)


def _wanted(recipe: Recipe, config: SearchPlan | ImproveConfig) -> dict[str, Any]:
    own = {"budget": str(config.budget), "teacher": config.teacher, "contenders": config.contenders}
    return {**recipe.to_dict(), **own}
