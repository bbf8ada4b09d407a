"""Tables of targets: CSV and JSON, columns and lists of names, splits, and what is refused."""

import json
import re

import pytest
import torch
from PIL import Image

from refconv.data import open_data
from refconv.data.tables import open_table
from refconv.data.targets import CLASSES, Wanted
from refconv.errors import DataError, RefconvWarning

LABELS, VALUES, ONE = Wanted("labels"), Wanted("values"), Wanted("labels", one=True)
NAN = float("nan")


def images(folder, count=4):
    for number in range(count):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")


def written(folder, text, name="labels.csv"):
    images(folder)
    (folder / name).write_text(text)
    return folder / name


def both(parts):
    return parts.train.labels, parts.test.labels


def test_columns_are_labels_and_empty_cells_are_not_known(tmp_path):
    text = "image,split,cat,dog\n0.png,train,1,0\n1.png,train,,1\n2.png,test,0,1\n3.png,train,1,1\n"
    parts = open_table(written(tmp_path, text), LABELS, val_split=0)
    train, test = both(parts)
    torch.testing.assert_close(train, torch.tensor([[1, 0], [NAN, 1], [1, 1]]), equal_nan=True)
    assert test.tolist() == [[0, 1]]
    assert parts.train.class_names == ("cat", "dog")
    assert parts.test.where(0) == str(tmp_path / "2.png")
    assert parts.val is None


def test_labels_of_minus_one_and_one_are_understood(tmp_path):
    text = "file,cat,dog,split\n0.png,-1,1,train\n1.png,1,-1,test\n"
    train, _ = both(open_table(written(tmp_path, text), LABELS, val_split=0))
    assert train.tolist() == [[0, 1]]


@pytest.mark.parametrize("separator", [" ", "|", "; "])
def test_one_column_may_list_the_names_of_labels(tmp_path, separator):
    listed = separator.join(("dog", "cat"))
    text = f"image,labels,split\n0.png,{listed},train\n1.png,cat,train\n2.png,,test\n"
    parts = open_table(written(tmp_path, text), LABELS, val_split=0)
    assert parts.train.class_names == ("cat", "dog")
    assert parts.train.labels.tolist() == [[1, 1], [1, 0]]
    assert parts.test.labels.tolist() == [[0, 0]]


def test_json_holds_names_numbers_or_objects(tmp_path):
    images(tmp_path)
    held = tmp_path / "held"
    held.mkdir()
    images(held)
    for entries, wanted, expected in (
        ({"0.png": ["a", "b"], "1.png": []}, LABELS, [[1, 1], [0, 0]]),
        ({"0.png": 2.5, "1.png": 3}, VALUES, [[2.5], [3]]),
        ({"0.png": [2.5, 1], "1.png": [3, 2]}, VALUES, [[2.5, 1], [3, 2]]),
        ([{"image": "0.png", "x": 1.5, "y": 2}, {"image": "1.png", "x": 0, "y": 1}], VALUES, [[1.5, 2], [0, 1]]),
        ({"0.png": "real", "1.png": "fake"}, ONE, [[1], [0]]),
    ):
        text = json.dumps(entries)
        for split, named in (("train", text), ("test", re.sub(r"(\d\.png)", r"held/\1", text))):
            (tmp_path / f"{split}.json").write_text(named)
        parts = open_table(tmp_path, wanted, val_split=0)
        assert parts.train.labels.tolist() == parts.test.labels.tolist() == expected


def test_classes_are_one_column_of_names_and_numbers_sort_as_numbers(tmp_path):
    text = "image,class,split\n0.png,10,train\n1.png,9,train\n2.png,10,test\n"
    parts = open_table(written(tmp_path, text), CLASSES, val_split=0)
    assert parts.train.class_names == ("9", "10")
    assert (parts.train.labels.tolist(), parts.test.labels.tolist()) == ([1, 0], [1])


@pytest.mark.parametrize(("delimiter", "name"), [(";", "a.csv"), ("\t", "a.csv"), ("\t", "a.tsv"), (",", "a.csv")])
def test_cells_are_separated_by_what_the_first_line_has_first(tmp_path, delimiter, name):
    lines = [['"a;b"', "split", "cat", "dog"], ["0.png", "train", "1", ""], ["1.png", "test", "0", "1"]]
    path = written(tmp_path, "\n".join(delimiter.join(cells) for cells in lines), name)
    parts = open_table(path, LABELS, val_split=0)
    torch.testing.assert_close(parts.train.labels, torch.tensor([[1, NAN]]), equal_nan=True)
    assert (parts.train.class_names, parts.test.labels.tolist()) == (("cat", "dog"), [[0, 1]])


def test_names_in_a_cell_may_be_separated_as_cells_of_other_tables_are(tmp_path):
    parts = open_table(written(tmp_path, "image;labels;split\n0.png;b,a;train\n1.png;b;test\n"), LABELS, val_split=0)
    assert (parts.train.class_names, parts.test.labels.tolist()) == (("a", "b"), [[0, 1]])


def test_the_positive_class_may_be_named(tmp_path):
    text = "image,cat,dog,split\n0.png,0,1,train\n1.png,1,0,test\n"
    parts = open_table(written(tmp_path, text), Wanted("labels", one=True, positive="cat"), val_split=0)
    assert (parts.train.class_names, parts.train.labels.tolist()) == (("cat",), [[0]])


def test_a_table_without_splits_can_be_evaluated_on(tmp_path):
    path = written(tmp_path, "image,value\n0.png,1\n1.png,2\n")
    parts = open_table(path, VALUES, val_split=0, for_training=False)
    assert parts.train is None
    assert len(parts.test.labels) == 2
    with pytest.raises(DataError, match="no training images; .*found no column split; add a column split"):
        open_table(path, VALUES, val_split=0)


def test_batches_have_the_targets_of_their_images(tmp_path):
    lines = [f"{n}.png,{'test' if n == 3 else 'train'},{n},{n / 2}" for n in range(4)]
    path = written(tmp_path, "\n".join(["image,split,a,b", *lines]))
    data = open_data(f"table:{path}", wanted=VALUES, mean=(0.0,), std=(1.0,))
    assert data.info.class_names == ("a", "b")
    assert data.train_targets().tolist() == [[0, 0], [1, 0.5], [2, 1]]
    for samples, targets in data.train_batches(seed=0, epoch=0, batch_size=2):
        for sample, target in zip(samples, targets, strict=True):
            assert target.tolist() == [round(float(sample[0, 0, 0]) * 255 / 40), target[0] / 2]


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        ("image,split,a\n9.png,train,1\n0.png,test,0\n", LABELS, "no such image; found 1 of 2 missing, such as 9.png"),
        ("image,split,a\n0.png,train,1\n1.png,test,2\n", LABELS, "labels are no yes or no; .*found 1, 2; give --task"),
        ("image,split,a,b\n0.png,train,1,x\n1.png,test,2,0\n", VALUES, "line 2, b: not a number; .*found 'x'"),
        ("image,split,a\n0.png,train,1,2\n1.png,test,2\n", VALUES, "line 2 has 4 cells, the first line 3"),
        ("image,split,a\n0.png,holdout,1\n", VALUES, "line 2: no such split; .*found holdout"),
        (
            "image,split,a\n0.png,train,cat\n1.png,test,dog\n",
            VALUES,
            "line 2, a: not a number; expected a number, or nothing where unknown, found 'cat'",
        ),
        ("image,split,a\n0.png,train,x\n1.png,test,y\n2.png,test,z\n", ONE, "which class is the positive one"),
        ("image,split,a\n0.png,train,\n1.png,test,y\n", CLASSES, "line 2: no class; expected one name"),
        ("image,split,a,a\n", VALUES, "names 'a' twice"),
        (
            "image;split;a\n0.png;train;1,5\n1.png;test;2\n",
            VALUES,
            "not a number; .*found '1,5'; write a decimal point",
        ),
        (
            "image,split,a\n0.png,train,1\n1.png,test,-inf\n",
            VALUES,
            r"labels\.csv, line 3, a: values must be finite; expected a finite number .* found -inf",
        ),
        ("image,split,a\n0.png,train,1e39\n1.png,test,2\n", VALUES, "line 2, a: values must be finite; .* found 1e39"),
        ("image,split,a\n0.png,train,1\n1.png,test,inf\n", LABELS, "line 3, a: values must be finite"),
        ("image\n", VALUES, "names no target"),
        ("image,split,a\n", VALUES, "an empty table"),
        ("image,split,a\n0.png,train,1\n", VALUES, "nothing to test on"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, wanted, message):
    with pytest.raises(DataError, match=message):
        open_table(written(tmp_path, text), wanted, val_split=0)


def test_a_number_of_json_that_becomes_infinite_is_refused_with_its_entry(tmp_path):
    rows = [{"image": "0.png", "split": "train", "a": 1}, {"image": "1.png", "split": "test", "a": 1e39}]
    file = written(tmp_path, json.dumps(rows), "all.json")
    with pytest.raises(DataError, match=r"all\.json, entry 2, a: values must be finite; .* found 1e\+39$"):
        open_table(file, VALUES, val_split=0)


def test_lists_that_are_all_empty_are_refused(tmp_path):
    images(tmp_path)
    for split in ("train", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps({"0.png": [], "1.png": []}))
    with pytest.raises(DataError, match="no sample has a target; expected some labels; fill in what is known"):
        open_table(tmp_path, LABELS, val_split=0)


def test_a_table_without_its_prefix_is_recognised(tmp_path):
    path = written(tmp_path, "image,split,a\n0.png,train,1\n1.png,test,2\n")
    with pytest.raises(DataError, match=f"unknown data; .*write table:{path} to read that file"):
        open_data(str(path), wanted=VALUES)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere.csv: no such table"):
        open_data(f"table:{tmp_path}/nowhere.csv", wanted=VALUES)
    with pytest.raises(DataError, match="no table of targets; expected train.csv and test.csv, .*found no table"):
        open_data(f"table:{tmp_path}", wanted=VALUES)


@pytest.mark.parametrize("named", ["./1.png", "../{}/1.png", "link.png", "linked/1.png"])
def test_images_that_are_trained_on_and_held_out_are_warned_of(tmp_path, named):
    folder = tmp_path / "x"
    folder.mkdir()
    images(folder)
    (folder / "link.png").symlink_to(folder / "1.png")
    (folder / "linked").symlink_to(folder, target_is_directory=True)
    named = named.format("x")
    for held in ("test", "val"):
        lines = ["image,split,a", "0.png,train,1", "1.png,train,0", "2.png,test,1", f"{named},{held},0", "3.png,val,1"]
        (folder / "labels.csv").write_text("\n".join(lines))
        words = rf"labels\.csv: 1 of 3 images held out are trained on too, .*, the first: .*{named}; results on them"
        with pytest.warns(RefconvWarning, match=words):
            open_table(folder / "labels.csv", LABELS, val_split=0)
    (folder / "train.csv").write_text("image,a\n0.png,1\n1.png,0\n")
    (folder / "test.csv").write_text(f"image,a\n2.png,1\n{named},0\n")
    with pytest.warns(RefconvWarning, match="1 of 2 images held out are trained on too"):
        open_table(folder, LABELS, val_split=0)


def test_an_image_may_be_in_several_lines_of_one_split(tmp_path):
    text = "image,split,a\n0.png,train,1\n0.png,train,0\n1.png,test,1\n1.png,test,0\n1.png,val,0\n"
    parts = open_table(written(tmp_path, text), LABELS, val_split=0)
    assert (len(parts.train.labels), len(parts.val.labels), len(parts.test.labels)) == (2, 1, 2)
