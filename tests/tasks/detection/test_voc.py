"""Pascal VOC's layout is read with its own way of counting pixels, and what is wrong with it is one line."""

import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from refconv.data.scenes import make_scenes
from refconv.errors import DataError, RefconvWarning
from refconv.tasks.detection.layouts import coco_annotations, voc_annotations

XML = """<annotation><filename>{name}.jpg</filename><size><width>30</width><height>20</height></size>
<object><name>dog</name><difficult>1</difficult>
<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>4</xmax><ymax>6</ymax></bndbox></object>
<object><name>cat</name><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>
<bndbox><ymin>6.0</ymin><xmin>11</xmin><ymax>20</ymax><xmax>30</xmax></bndbox></object></annotation>"""


def write(home):
    for place in ("Annotations", "JPEGImages", "ImageSets/Main", "ImageSets/Segmentation", "SegmentationObject"):
        (home / place).mkdir(parents=True)
    for name in ("a", "b", "c"):
        (home / "Annotations" / f"{name}.xml").write_text(XML.format(name=name))
        Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(home / "JPEGImages" / f"{name}.jpg")
    numbers = np.zeros((20, 30), dtype=np.uint8)
    numbers[2:6, 1:4], numbers[5:, 10:] = 1, 2
    Image.fromarray(numbers).save(home / "SegmentationObject" / "a.png")
    Image.fromarray(numbers).save(home / "SegmentationObject" / "c.png")
    for kind, train in (("Main", "a\nb  1\n\n"), ("Segmentation", "a\n")):
        (home / "ImageSets" / kind / "train.txt").write_text(train)
        (home / "ImageSets" / kind / "val.txt").write_text("c\n")
        (home / "ImageSets" / kind / "trainval.txt").write_text("a\nb\nc\n")
    return home


@pytest.fixture
def home(tmp_path):
    return write(tmp_path / "VOCdevkit" / "VOC2012")


def test_everything_is_read(home):
    parts = voc_annotations(home)
    train = parts.train
    assert train.class_names == ("cat", "dog")
    assert [train.paths[index] for index in range(2)] == [str(home / "JPEGImages" / f"{name}.jpg") for name in "ab"]
    # From 1, the last pixel inside: xmin 2, xmax 4 are three pixels, from 1 up to 4.
    assert train.boxes.tolist() == [[1, 2, 4, 6], [10, 5, 30, 20]] * 2
    assert train.areas.tolist() == [12, 300] * 2
    assert train.labels.tolist() == [2, 1] * 2
    assert train.difficult.tolist() == [True, False] * 2
    assert train.crowd.tolist() == [False] * 4
    assert parts.val is None
    assert len(parts.test) == 1


def test_boxes_and_masks_count_pixels_alike(home):
    train = voc_annotations(home, masks=True).train
    assert len(train) == 1
    masks = train.masks(0, train.rows(0))
    for mask, box in zip(masks, train.boxes, strict=True):
        x0, y0, x1, y1 = box.int().tolist()
        assert mask[y0:y1, x0:x1].all()
        assert mask.sum() == (y1 - y0) * (x1 - x0)


@pytest.mark.parametrize("up", [0, 1, 2])
def test_the_folder_may_be_any_above(home, up):
    folder = [home, *home.parents][up]
    assert len(voc_annotations(folder).train) == 2


def test_without_train_the_whole_of_trainval_is_trained_on(home):
    (home / "ImageSets/Main/train.txt").unlink()
    (home / "ImageSets/Main/trainval.txt").write_text("a\nb\n")
    shutil.move(home / "ImageSets/Main/val.txt", home / "ImageSets/Main/test.txt")
    parts = voc_annotations(home)
    assert (len(parts.train), parts.val, len(parts.test)) == (2, None, 1)


def test_val_is_no_held_out_part_of_trainval(home):
    (home / "ImageSets/Main/train.txt").unlink()
    with pytest.raises(DataError, match="nothing to test on"):
        voc_annotations(home)


def test_the_image_is_the_one_that_the_xml_names(home):
    (home / "JPEGImages/a.jpg").rename(home / "JPEGImages/other.png")
    text = (home / "Annotations/a.xml").read_text()
    (home / "Annotations/a.xml").write_text(text.replace("a.jpg", "other.png"))
    assert voc_annotations(home).train.paths[0] == str(home / "JPEGImages/other.png")
    # Some xmls name a file that their images no longer bear.
    (home / "JPEGImages/other.png").rename(home / "JPEGImages/a.png")
    assert voc_annotations(home).train.paths[0] == str(home / "JPEGImages/a.png")


def test_sizes_that_are_not_declared_are_those_of_the_files(home):
    text = (home / "Annotations/a.xml").read_text()
    (home / "Annotations/a.xml").write_text(text.replace("<width>30</width>", ""))
    assert voc_annotations(home).train.sizes.tolist() == [[20, 30], [20, 30]]


def test_declared_classes_decide_the_numbers(home):
    (home / "classes.txt").write_text("background\ndog\ncat\n")
    train = voc_annotations(home).train
    assert train.class_names == ("dog", "cat")
    assert train.labels.tolist() == [1, 2] * 2
    (home / "classes.txt").write_text("dog\nwolf\n")
    with pytest.raises(DataError, match=r"a\.xml: object 2: class that is not declared; .* 2 names .* found 'cat'"):
        voc_annotations(home)


def test_images_without_objects_are_read(home):
    (home / "Annotations/a.xml").write_text("<annotation><filename>a.jpg</filename></annotation>")
    train = voc_annotations(home).train
    assert [len(train.rows(index)) for index in range(2)] == [0, 2]


@pytest.mark.parametrize("masks", [False, True])
def test_scenes_are_the_same_in_both_layouts(tmp_path, masks):
    make_scenes(tmp_path / "s", train=4, val=0, test=2, size=48, source="digits")
    voc = voc_annotations(tmp_path / "s" / "voc", masks=masks).train
    coco = coco_annotations(tmp_path / "s", masks=masks).train
    assert voc.class_names == coco.class_names
    assert voc.boxes.tolist() == coco.boxes.tolist()
    assert voc.labels.tolist() == coco.labels.tolist()
    assert voc.first.tolist() == coco.first.tolist()
    if masks:
        for index in range(4):
            assert voc.masks(index, voc.rows(index)).equal(coco.masks(index, coco.rows(index)))


def replace(old, new):
    def damage(home):
        file = home / "Annotations/a.xml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return damage


def remove(name):
    return lambda home: (home / name).unlink()


BAD = {
    "cut xml": (replace("</annotation>", ""), r"a\.xml: invalid XML"),
    "no xml": (remove("Annotations/a.xml"), r"train\.txt: lists an image without annotation; .*a\.xml"),
    "no image": (remove("JPEGImages/a.jpg"), r"a\.xml: lists an image file that does not exist; .*JPEGImages/a\.jpg"),
    "no corner": (replace("<xmax>4</xmax>", ""), r"a\.xml: object 1: invalid object; .* bndbox 2 3 None 6"),
    "text": (replace("<xmax>4</xmax>", "<xmax>four</xmax>"), r"object 1: invalid object; .* four"),
    "infinite": (replace("<xmax>4</xmax>", "<xmax>inf</xmax>"), r"object 1: invalid object"),
    "swapped": (replace("<xmax>4</xmax>", "<xmax>1</xmax>"), r"object 1: invalid object"),
    "no name": (replace("<name>dog</name>", ""), r"object 1: invalid object; .* name ''"),
    "size": (replace("<width>30</width>", "<width>wide</width>"), r"a\.xml: invalid image size"),
    "endless": (replace("<width>30</width>", "<width>inf</width>"), r"a\.xml: invalid image size"),
    "twice": (lambda home: (home / "ImageSets/Main/train.txt").write_text("a\na\n"), r"lists an image twice; found a"),
    "bytes": (lambda home: (home / "ImageSets/Main/train.txt").write_bytes(b"\xff"), r"train\.txt: cannot be read"),
    "classes": (lambda home: (home / "classes.txt").write_bytes(b"\xff"), r"classes\.txt: cannot be read"),
    "empty": (lambda home: (home / "ImageSets/Main/train.txt").write_text(""), r"train\.txt: no images"),
    "no lists": (lambda home: shutil.rmtree(home / "ImageSets/Main"), r"nothing to train on; .* found no lists"),
    "no sets": (lambda home: shutil.rmtree(home / "ImageSets"), r"no VOC folder"),
    "gone": (shutil.rmtree, r"no such folder"),
}


@pytest.mark.parametrize(("damage", "words"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_one_line(home, damage, words):
    damage(home)
    with pytest.raises(DataError, match=words) as caught:
        voc_annotations(home)
    assert "\n" not in str(caught.value)


def test_boxes_that_are_shares_of_their_images_are_refused(home):
    for name in ("a", "b"):
        text = XML.format(name=name)
        for number, corner in (("2", "0.1"), ("3", "0.2"), ("4", "0.5"), ("6", "0.8")):
            text = text.replace(f">{number}</", f">{corner}</")
        for number, corner in (("6.0", "0"), ("11", "0"), ("20", "1"), ("30", "0.9")):
            text = text.replace(f">{number}</x", f">{corner}</x").replace(f">{number}</y", f">{corner}</y")
        (home / f"Annotations/{name}.xml").write_text(text)
    words = r"train\.txt: the boxes look normalised; .* 4 boxes, in images of up to 30 x 20"
    with pytest.raises(DataError, match=words):
        voc_annotations(home)


def test_masks_that_are_missing_are_one_line(home):
    (home / "SegmentationObject/a.png").unlink()
    with pytest.raises(DataError, match=r"train\.txt: lists an image without masks; .*a\.png"):
        voc_annotations(home, masks=True)


def test_several_years_are_refused(home):
    write(home.parent / "VOC2007")
    with pytest.raises(DataError, match=r"several VOC folders; .*VOC2007, VOC2012; give one of them, such as voc:"):
        voc_annotations(home.parent)


def test_no_objects_at_all_are_refused(home):
    for file in (home / "Annotations").iterdir():
        root = ElementTree.fromstring(file.read_text())
        for thing in root.findall("object"):
            root.remove(thing)
        file.write_text(ElementTree.tostring(root, encoding="unicode"))
    with pytest.raises(DataError, match="no objects"):
        voc_annotations(home)


def test_images_that_are_trained_on_and_held_out_are_warned_of(home):
    (home / "ImageSets/Main/val.txt").write_text("c\nb\n")
    with pytest.warns(RefconvWarning, match=r"Main: 1 of 2 images held out are trained on too, .*b\.jpg; results"):
        voc_annotations(home)
