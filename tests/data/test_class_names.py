"""Tests of refconv.data.class_names."""

import json
import unicodedata

import pytest
from timm.data import ImageNetInfo

from refconv.data.class_names import Classes, read_class_map
from refconv.errors import DataError

SYNSETS = tuple(ImageNetInfo("imagenet-1k").label_names())


@pytest.mark.parametrize(
    ("classes", "found", "outputs"),
    [
        (Classes(("cat", "dog", "frog"), 3), ("dog", "cat"), (1, 0)),
        (Classes(("cat", "dog", "frog"), 5), ("cat", "dog", "frog"), (0, 1, 2)),
        (Classes(("n02123045", "n01440764"), 2), ("n01440764_tench",), (1,)),
        (Classes(("n02123045 tabby", "n01440764 tench"), 2), ("n01440764",), (1,)),
        (Classes((), 1000), (SYNSETS[999], SYNSETS[7]), (999, 7)),
        (Classes((), 1000), (f"{SYNSETS[3]}_shark",), (3,)),
        (Classes((unicodedata.normalize("NFD", "café"), "x"), 2), (unicodedata.normalize("NFC", "café"),), (0,)),
        (Classes(("0", "1", "2"), 3), ("2", "0"), (2, 0)),
        (Classes(("0", "1"), 2), ("ant", "bee"), (0, 1)),
        (Classes((), 2), ("ant", "bee"), (0, 1)),
        (Classes(), ("bee", "ant"), (0, 1)),
        (Classes(("cat", "dog"), 2, {"kitten": "cat", "puppy": "1"}), ("puppy", "kitten", "cat"), (1, 0, 0)),
        (Classes((), 10, {"ant": "7", "bee": "2"}), ("ant", "bee"), (7, 2)),
        (Classes(class_map={"pug": "dog", "boxer": "dog"}), ("boxer", "cat", "pug"), (1, 0, 1)),
        (Classes((), 1000, {"tench": SYNSETS[0], "x": "5"}), ("tench", SYNSETS[4]), (0, 4)),
    ],
)
def test_classes_are_matched(classes, found, outputs):
    assert classes.match(found, where="here").outputs == outputs


@pytest.mark.parametrize(
    ("classes", "found", "words"),
    [
        (
            Classes(("cat", "dog"), 2),
            ("dog", "horse"),
            "1 of 2 classes .*its 2 classes cat, dog, found horse; .*--class-map",
        ),
        (Classes(("cat", "dog"), 2), ("Cat",), "found Cat"),
        (Classes((), 1000), ("cat", "dog"), "expected 1000 classes, .*names are not known, found cat, dog"),
        (Classes((), 1000), (SYNSETS[0], "dog"), "names are not known"),
        (Classes((), 1000), ("n00000000",), "found n00000000"),
        (Classes((), 3), ("a", "b", "c", "d"), "expected 3 classes"),
        (Classes(("cat", "dog"), 2, {"x": "2"}), ("x",), "found x"),
        (Classes((), 2, {"x": "1"}), ("x", "y"), "found y"),
    ],
)
def test_what_cannot_be_matched_is_refused_in_one_line(classes, found, words):
    with pytest.raises(DataError, match=f"^here: .*{words}") as caught:
        classes.match(found, where="here")
    assert "\n" not in str(caught.value)


def test_matching_says_what_it_changed():
    classes = Classes(("cat", "dog", "frog"))
    assert classes.match(("cat", "dog", "frog"), where="here").changes_nothing
    matching = classes.match(("frog", "cat"), where="here")
    assert not matching.changes_nothing
    assert matching.names == ("cat", "dog", "frog")
    assert str(matching) == "2 of 3 classes, matched by name: frog is 2, cat is 0"


def test_matching_by_number_says_so():
    numbered = Classes(("airplane", "truck")).match(("0", "1"), where="here")
    assert str(numbered) == "2 classes, matched by number: 0 is airplane, 1 is truck"
    named = Classes(("0", "1")).match(("airplane", "truck"), where="here")
    assert str(named) == "2 classes, matched by number: airplane is 0, truck is 1"
    assert Classes(outputs=2).match(("ant", "bee"), where="here").changes_nothing


@pytest.mark.parametrize(
    "text", ['{"a b": "cat", "c": 3}', "a b,cat\nc,3\n", '# folders\n"a b",cat\n\nc , 3', "a b\tcat\nc\t3"]
)
def test_class_maps_are_json_or_lines(tmp_path, text):
    (tmp_path / "map").write_text(text)
    assert read_class_map(tmp_path / "map") == {"a b": "cat", "c": "3"}


@pytest.mark.parametrize("text", ["", "a", "a,b,c", "{", json.dumps({"a": [1]}), "{}"])
def test_a_damaged_class_map_is_refused(tmp_path, text):
    (tmp_path / "map").write_text(text)
    with pytest.raises(DataError, match=r"map(, line 1|, key 'a')?: (not a class map|cannot be read)"):
        read_class_map(tmp_path / "map")


def test_a_missing_class_map_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"map: no such class map; expected a file with lines FOLDER,CLASS") as caught:
        read_class_map(tmp_path / "map")
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# map\nx,1\n\ny,3\n", "map, line 4: no such number of a class; expected a number from 0 to 2, found y,3"),
        ('{"x": 1, "y": -1}', "map, key 'y': no such number of a class; expected a number from 0 to 2, found y,-1"),
        ("y,dig\nx,0", "map, line 1: no such class of the model; expected a number from 0 to 2, found y,dig"),
    ],
)
@pytest.mark.parametrize("names", [(), ("cat", "dog", "frog")])
def test_an_entry_of_a_class_map_that_is_no_class_is_named_by_its_line(tmp_path, text, words, names):
    (tmp_path / "map").write_text(text)
    with pytest.raises(DataError) as caught:
        Classes(names, 3, read_class_map(tmp_path / "map")).match(("x", "y"), where="here")
    assert words.replace(", found", " or one of cat, dog, frog, found" if names else ", found") in str(caught.value)
