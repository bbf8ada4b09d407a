"""A task says once what it measures: evaluations, records, recipes and studies read the same declaration."""

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ready_processes import run_script
from refconv.errors import SettingError
from refconv.task_measures import DECIBEL, NUMBER, SHARE, TASKS, compared_measures, measures_of

EVALUATIONS = {
    "classification": "refconv.tasks.classification.evaluation:ClassificationEvaluation",
    "detection": "refconv.tasks.detection.evaluation:DetectionEvaluation",
    "segmentation": "refconv.tasks.segmentation.evaluation:SegmentationEvaluation",
    "restoration": "refconv.tasks.restoration.evaluation:RestorationEvaluation",
    "multilabel": "refconv.tasks.multilabel.evaluation:MultilabelEvaluation",
    "binary": "refconv.tasks.binary.evaluation:BinaryEvaluation",
    "regression": "refconv.tasks.regression.evaluation:RegressionEvaluation",
    "embedding": "refconv.tasks.embedding.evaluation:EmbeddingEvaluation",
}
NO_MEASURES = {
    "samples", "enlarged", "channel", "per_class", "mask_per_class", "class_iou", "label_ap", "label_f1", "output_mae",
    "output_r2",
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_what_an_evaluation_gives_is_what_its_task_declares(task):
    module, name = EVALUATIONS[task].split(":")
    fields = {field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name))}
    assert fields - NO_MEASURES == {measure.name for measure in measures_of(task).measures}


def test_measures_need_no_torch():
    script = "import sys; from refconv.task_measures import TASKS, measures_of; [measures_of(task) for task in TASKS]; "
    script += "assert not {'torch', 'timm', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_unknown_task_has_no_measures():
    with pytest.raises(SettingError, match="task: unknown task; expected classification, .*found 'captioning'"):
        measures_of("captioning")


def test_units_are_those_of_the_values():
    top1, psnr, ssim = (compared_measures()[name] for name in ("top1", "psnr", "ssim"))
    assert (top1.scale, psnr.scale, ssim.scale) == (SHARE, DECIBEL, NUMBER)
    assert [measure.title for measure in (top1, psnr, ssim)] == ["top-1, %", "PSNR, dB", "SSIM"]
    assert [measure.said(0.5) for measure in (top1, psnr, ssim)] == ["50.00%", "0.50 dB", "0.5000"]
    assert (top1.resolution(500), top1.resolution(None), psnr.resolution(500)) == (0.002, None, None)
    assert [measure.limit() for measure in (top1, psnr, ssim)] == ["0.1 points", "0.05 dB", "0"]


def test_names_that_tasks_share_are_shown_alike():
    known = compared_measures()
    for task in TASKS:
        for measure in measures_of(task).measures:
            if measure.compared:
                same = ("label", "scale", "larger_is_better", "validated")
                assert all(getattr(measure, name) == getattr(known[measure.name], name) for name in same)


MEASURED = """
from refconv.task_measures import Measure, TaskMeasures, Scale

STEPS = Scale(1, 1, "px", " px")
MEASURES = TaskMeasures(
    (Measure(name="error", label="mean error", scale=STEPS, larger_is_better=False, resolve=0.5),), samples="digit"
)
"""
TASK = """
import dataclasses
from refconv.data import open_data
from refconv.tasks.evaluation import Evaluation
from refconv.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class CountingEvaluation(Evaluation):
    error: float


class Counting(Task):
    name = "counting"

    def check(self, recipe):
        pass

    def open_data(self, recipe, model=None):
        return open_data(recipe.data, val_split=recipe.val_split)

    def open_for(self, opened, source):
        return open_data(source.name, val_split=source.val_split)

    def check_outputs(self, model, samples, outputs, info):
        assert outputs.shape[0] == samples.shape[0]

    def objective(self, recipe, info, processes, *, part_size):
        return lambda network, inputs, targets: (network(inputs)[:, 0] - targets).square().mean()

    def evaluate_batches(self, model, batches, run):
        errors = [float(abs(model(inputs)[:, 0] - targets).sum()) for inputs, targets in batches]
        samples = run.data.size_of(run.split)
        return CountingEvaluation(samples, sum(errors) / samples)

    def predict(self, opened, image, *, device, threshold):
        raise NotImplementedError
"""
USE = """
import json, sys
import torch

torch.set_num_threads(1)
import refconv.task_measures, refconv.tasks

refconv.tasks.__path__.append(sys.argv[1])  # the folder
refconv.task_measures.TASKS += ("counting",)  # the line in the registry

from refconv.engine import Recipe, train
from refconv.models.opening import open_model
from refconv.studies.comparison import MEASURES
from refconv.tasks.model_data import data_for
from refconv.tasks.registry import task_named

settings = {"task": "counting", "model": "test_resnet", "data": "digits", "val_split": 0.2, "epochs": 2}
run = sys.argv[1] + "/run"
record = train(Recipe(**settings, lr=0.001, clip_grad=1.0, device="cpu", img_size=8), run, show=False)
opened = open_model(run)
again = task_named(opened.task).evaluate(opened.model, data_for(opened), "test", batch_size=64)
best = min(point.measure("error") for point in record.validation)
print(json.dumps({
    "task": opened.task,
    "recorded": record.measures["error"],
    "again": again.error,
    "course": str(record.course),
    "end": record.course.end,
    "fell": record.course.fell,
    "best": record.val_best.measure("error") == best,
    "smaller is better": not MEASURES["error"].larger_is_better,
    "studied before losses": list(MEASURES).index("error") < list(MEASURES).index("loss"),
}))
"""


def test_a_new_task_is_one_folder_and_one_line(tmp_path):
    """It trains, evaluates, is recorded, opened again and compared, in its own unit and direction."""
    folder = tmp_path / "counting"
    folder.mkdir()
    for name, text in {"__init__": "", "measures": MEASURED, "task": TASK}.items():
        (folder / f"{name}.py").write_text(text)
    done = run_script(USE, tmp_path, without_refconv=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["task"] == "counting"
    assert found["again"] == pytest.approx(found["recorded"], rel=1e-4)
    assert found["course"].startswith("mean error from ")
    assert f"to {found['end']:.1f} px (" in found["course"]
    assert not found["fell"]
    assert found["best"]
    assert found["smaller is better"]
    assert found["studied before losses"]
    assert Path(tmp_path, "run", "record.json").is_file()


def test_numbers_beyond_all_measure_stay_short():
    mae = measures_of("regression").primary
    assert mae.shown(4.54e34) == "4.54e+34"
    assert mae.shown(-4.54e34, signed=True) == "-4.54e+34"
    assert "e" not in mae.shown(12345.6789)
