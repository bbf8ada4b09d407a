"""Tasks by name: the same words in recipes, records and the registry; settings of one are refused by the others."""

import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image

from refconv.engine.run_record import PRIMARY
from refconv.errors import RecipeError
from refconv.recipe.recipe import Recipe
from refconv.studies.comparison import MEASURES
from refconv.task_measures import TASKS
from refconv.tasks.registry import task_named, task_of

ROOT = Path(__file__).resolve().parents[3]
OWN = {
    "classification": {"mixup": 0.2},
    "detection": {},
    "segmentation": {"ignore_index": 7},
    "restoration": {"noise": 25, "patch_size": 32},
    "multilabel": {},
    "binary": {},
    "regression": {},
    "embedding": {},
}


def recipe(task, **settings):
    needed = {"noise": 25} if task == "restoration" else {}
    model = "detector:fcos" if task == "detection" else "m"
    return Recipe(task=task, model=model, data="d", **{**needed, **settings})


def test_recipes_records_and_registry_know_the_same_tasks():
    (field,) = [field for field in dataclasses.fields(Recipe) if field.name == "task"]
    assert field.metadata["choices"] == TASKS == tuple(PRIMARY)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_says_what_it_is_and_its_first_measure_can_be_compared(name):
    task = task_named(name)
    assert task.name == name
    assert task.primary == PRIMARY[name]
    assert MEASURES[task.primary].compared
    assert MEASURES[task.primary].resolve or name == "regression"  # errors have the unit of the targets


def test_measures_come_in_the_order_of_importance():
    # Tables of a study begin with its task's first measure: it must come before what other tasks measure too.
    names = list(MEASURES)
    assert max(names.index(primary) for primary in PRIMARY.values()) < names.index("loss")


def test_an_unknown_task_is_none():
    with pytest.raises(KeyError):
        task_named("captioning")
    with pytest.raises(RecipeError, match="task: unknown word; .* did you mean detection"):
        Recipe(task="detektion", model="m", data="d")


def test_a_classifier_has_no_backbone_to_choose():
    with pytest.raises(RecipeError, match="backbone: has no effect in classification: the model is its own backbone"):
        task_of(recipe("classification", backbone="resnet18"))


@pytest.mark.parametrize("task", TASKS)
def test_a_task_takes_its_own_settings(task):
    assert task_of(recipe(task, **OWN[task])).name == task


@pytest.mark.parametrize(
    ("task", "other"), [(task, other) for task in TASKS for other in TASKS if task != other and OWN[other]]
)
def test_a_task_refuses_the_settings_of_another(task, other):
    foreign = {name: value for name, value in OWN[other].items() if name not in OWN[task]}
    with pytest.raises(RecipeError, match=f"{next(iter(foreign))}: has no effect in {task}: "):
        task_of(recipe(task, **foreign))


def test_the_truth_is_drawn_as_predictions_are():
    image = Image.new("RGB", (320, 320), "white")
    boxes = {"boxes": torch.tensor([[10.0, 20.0, 200.0, 220.0]]), "labels": torch.tensor([1])}
    drawn = task_named("detection").draw_ground_truth(image, boxes, ("cat",))
    assert drawn.getpixel((100, 20)) != (255, 255, 255)
    assert drawn.getpixel((100, 120)) == (255, 255, 255)
    classes = torch.zeros(320, 320, dtype=torch.int64)
    classes[:160] = 2
    laid = task_named("segmentation").draw_ground_truth(image, classes, ("background", "cat", "dog"))
    assert laid.getpixel((5, 300)) == (255, 255, 255)
    assert laid.getpixel((5, 5)) != (255, 255, 255)
    clean = task_named("restoration").draw_ground_truth(image, torch.full((3, 4, 4), 0.2), ())
    assert clean.getpixel((1, 1)) == (51, 51, 51)
    assert task_named("classification").draw_ground_truth(image, 3, ()) is image


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_project_go_with_their_tasks(path):
    made = Recipe.from_toml(path)
    assert task_of(made).name == made.task
