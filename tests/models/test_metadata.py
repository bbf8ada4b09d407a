"""Weights say what they are: the header of a model folder's safetensors holds what exported files hold."""

import json

import pytest
import safetensors

from refconv.models.metadata import certificate_hash, certificate_of, described
from run_checkpoints import save_run, small_recipe


def test_the_weights_of_a_model_folder_say_task_architecture_preprocessing_and_versions(tmp_path):
    save_run(tmp_path / "run", small_recipe())
    with safetensors.safe_open(tmp_path / "run/model/model.safetensors", "pt") as file:
        said = file.metadata()
    config = json.loads((tmp_path / "run/model/config.json").read_text())
    assert said["format"] == "pt"  # transformers asks for it
    assert (said["task"], said["architecture"]) == ("classification", config["architecture"])
    assert json.loads(said["class_names"]) == config["label_names"]
    assert json.loads(said["preprocessing"]) == config["pretrained_cfg"]
    assert {"python", "refconv", "torch"} <= json.loads(said["versions"]).keys()


def test_the_hash_of_a_certificate_depends_on_its_values_alone():
    first = certificate_hash({"a": 1, "b": [2.5]})
    assert first == certificate_hash({"b": [2.5], "a": 1})
    assert first != certificate_hash({"a": 1, "b": [2.6]})
    assert len(first) == 64


@pytest.mark.parametrize("record", ["record.json", "improve.json"])
def test_the_certificate_is_that_of_the_record_beside_the_model(tmp_path, record):
    (tmp_path / record).write_text(json.dumps({"certificate": {"kernels": 5}}))
    assert certificate_of(tmp_path / "model") == certificate_hash({"kernels": 5})


@pytest.mark.parametrize("content", [None, "no JSON", "[]", '{"certificate": null}'])
def test_no_certificate_is_an_empty_hash(tmp_path, content):
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    assert certificate_of(tmp_path / "model") == ""


def test_texts_stay_texts_and_other_values_are_json():
    said = described(task="detection", architecture="a", num_classes=None, outputs=["boxes"])
    assert (said["task"], said["num_classes"], said["outputs"]) == ("detection", "null", '["boxes"]')
