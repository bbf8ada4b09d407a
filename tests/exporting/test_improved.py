"""The result of an improvement is exported with the data that its plan names."""

import json

import pytest

from refconv.cli import main
from refconv.digests import with_digest
from refconv.errors import ModelError
from refconv.exporting import export_model_folder
from refconv.models.metadata import certificate_hash, certificate_of
from refconv.models.model_folder import located
from run_checkpoints import save_run, small_recipe


@pytest.fixture
def improved(tmp_path):
    """A folder as ``refconv improve`` leaves it: the model, and its record with the plan."""
    out = tmp_path / "better"
    recipe = small_recipe(model_kwargs={"width": 0.25, "strides": [1]})  # each exporter takes its time for a layer
    save_run(out, recipe)
    for name in ("recipe.toml", "checkpoint.pt"):
        (out / name).unlink()
    (out / "improve.json").write_text(json.dumps({"plan": {"recipe": recipe.to_dict()}, "certificate": {"a": 1}}))
    return out


def test_it_is_checked_on_the_data_of_its_plan(tmp_path, improved):
    record = export_model_folder(improved, tmp_path / "a.torchscript")
    assert (record.checked_on, record.holds) == ("32 test images of digits", True)
    assert located(improved).recipe().data == "digits"


def test_eight_bits_are_calibrated_on_the_data_of_its_plan(tmp_path, improved, capsys):
    status = main(["export", str(improved), "-o", str(tmp_path / "a.onnx"), "--int8", "--calibration", "32"])
    assert status in {0, 3}  # random weights may lose more than two points
    assert "calibrated on 32 random training images of digits" in capsys.readouterr().out


def test_data_that_are_gone_are_named(tmp_path, improved):
    path = improved / "improve.json"
    content = json.loads(path.read_text())
    content["plan"]["recipe"]["data"] = "folder:gone"
    path.write_text(json.dumps(content))
    record = export_model_folder(improved, tmp_path / "a.torchscript")
    assert record.checked_on.startswith("generated input (the recorded data cannot be had: folder:gone")
    assert record.holds


def test_a_model_folder_alone_says_that_no_data_are_recorded(tmp_path, improved):
    record = export_model_folder(improved / "model", tmp_path / "a.torchscript")
    assert (
        record.checked_on
        == "generated input (no data are recorded with the model; name them by --data, in Python data)"
    )


def test_a_model_of_another_program_says_where_it_can_be_exported(tmp_path, improved):
    path = improved / "model/config.json"
    config = {**json.loads(path.read_text()), "architecture": "refconv.improvement.handed_over:Net"}
    path.write_text(json.dumps(with_digest(config)))
    with pytest.raises(ModelError, match=r"handed over by a program in Python, .* refconv\.export\(model, FILE\)"):
        export_model_folder(improved, tmp_path / "a.torchscript")


def test_its_certificate_is_that_of_its_record(improved):
    assert certificate_of(improved / "model") == certificate_hash({"a": 1})
