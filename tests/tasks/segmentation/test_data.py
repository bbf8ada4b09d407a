"""Images and class maps: one geometry for both, exact repetition, and what is ignored."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from masked_folders import NAMES, write_masks, write_voc
from refconv.data.preprocessing import FLAGS, Statement
from refconv.errors import DataError, SettingError
from refconv.tasks.segmentation.data import SegmentationAugmentation, SegmentationData, prepared

ALL = SegmentationAugmentation(hflip=0.5, scale=(0.3, 1.5), color_jitter=0.3, interpolation="random")
RAW = {"stated": (Statement(FLAGS, {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}),)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture
def own(shared, tmp_path):
    return shutil.copytree(shared, tmp_path / "data")


def stated(**values):
    """What flags say about the input."""
    return (Statement(FLAGS, values),)


def opened(folder, **settings):
    return SegmentationData(f"masks:{folder}", **settings)


def all_of(batches):
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


def test_the_facts_are_those_of_the_folder(shared):
    data = opened(shared)
    assert data.info.class_names == NAMES
    assert (data.info.num_classes, data.info.input_size) == (3, (3, 32, 32))
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (8, 3, 3)
    samples, truth = next(data.train_batches(seed=0, epoch=0, batch_size=4))
    assert (samples.shape, samples.dtype) == ((4, 3, 32, 32), torch.float32)
    assert (truth.shape, truth.dtype) == ((4, 32, 32), torch.int64)


def test_evaluation_gives_the_files_as_they_are(shared):
    samples, truth = all_of(opened(shared, **RAW).eval_batches("test", batch_size=2))
    for index in range(3):
        image, mask = (
            np.asarray(Image.open(shared / kind / "test" / f"{index:02}.png")) for kind in ("images", "masks")
        )
        torch.testing.assert_close(samples[index], torch.tensor(image).permute(2, 0, 1) / 255)
        np.testing.assert_array_equal(truth[index], mask)


def test_normalisation_is_imagenets_unless_another_is_given(shared):
    raw, _ = all_of(opened(shared, **RAW).eval_batches("val", batch_size=3))
    normalised, _ = all_of(opened(shared).eval_batches("val", batch_size=3))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(normalised, (raw - mean) / std)


def test_images_may_become_grey(shared):
    data = opened(shared, in_chans=1)
    assert next(data.eval_batches("val", batch_size=2))[0].shape == (2, 1, 32, 32)
    assert data.info.mean == (pytest.approx(0.449, abs=1e-3),)


def test_an_epoch_goes_on_at_any_batch_bit_for_bit(shared):
    data = opened(shared, augmentation=ALL)
    whole = list(data.train_batches(seed=3, epoch=2, batch_size=2))
    torch.rand(7)  # other draws change nothing
    rest = list(data.train_batches(seed=3, epoch=2, batch_size=2, first_batch=2))
    for (samples, truth), (other, same) in zip(whole[2:], rest, strict=True):
        assert torch.equal(samples, other)
        assert torch.equal(truth, same)
    again, _ = all_of(data.train_batches(seed=3, epoch=3, batch_size=2))
    assert not torch.equal(all_of(whole)[0], again)


@pytest.mark.slow  # that workers load class maps: the test of an undeclared class
def test_worker_processes_change_nothing(shared):
    one, other = (opened(shared, augmentation=ALL, workers=count) for count in (0, 2))
    for first, second in zip(
        *(all_of(d.train_batches(seed=0, epoch=0, batch_size=4)) for d in (one, other)), strict=True
    ):
        assert torch.equal(first, second)


def test_processes_share_an_epoch(shared):
    data = opened(shared, augmentation=ALL)
    alone, _ = all_of(data.train_batches(seed=0, epoch=0, batch_size=8))
    shares = [all_of(data.train_batches(seed=0, epoch=0, batch_size=8, rank=r, world_size=2))[0] for r in (0, 1)]
    assert torch.equal(torch.cat(shares), alone)


def test_a_flip_turns_image_and_mask(shared):
    always = opened(shared, augmentation=SegmentationAugmentation(hflip=1.0), **RAW)
    never = opened(shared, **RAW)
    for turned, plain in zip(
        *(all_of(d.train_batches(seed=0, epoch=0, batch_size=8)) for d in (always, never)), strict=True
    ):
        assert torch.equal(turned.flip(-1), plain)
        assert not torch.equal(turned, plain)


def test_colours_change_and_masks_stay(shared):
    jittered = opened(shared, augmentation=SegmentationAugmentation(color_jitter=0.4), **RAW)
    (samples, truth), (plain, same) = (
        all_of(d.train_batches(seed=0, epoch=0, batch_size=8)) for d in (jittered, opened(shared, **RAW))
    )
    assert torch.equal(truth, same)
    assert (samples - plain).abs().mean() > 0.01


def test_a_share_above_one_shows_the_whole_image_smaller(shared):
    far = opened(shared, augmentation=SegmentationAugmentation(scale=(4, 4), ratio=(1, 1)))
    samples, truth = all_of(far.train_batches(seed=0, epoch=0, batch_size=8))
    assert ((truth == 255).sum((1, 2)) == 32 * 32 - 16 * 16).all()
    filled = samples.movedim(1, -1)[truth == 255]
    assert filled.abs().max() < 0.02  # the mean colour, but for rounding to 8 bits


def test_images_of_mixed_sizes_and_modes_come_as_one(own):
    for index, mode in enumerate(("L", "P", "RGBA", "RGB")):
        size = (20 + 8 * index, 36)
        Image.new(mode, size).save(own / "images/train" / f"{index:02}.png")
        Image.new("L", size).save(own / "masks/train" / f"{index:02}.png")
    data = opened(own)
    assert data.info.input_size == (3, 224, 224)
    samples, truth = all_of(
        opened(own, stated=stated(img_size=48), augmentation=ALL).train_batches(seed=0, epoch=0, batch_size=8)
    )
    assert samples.shape == (8, 3, 48, 48)
    assert truth.shape == (8, 48, 48)


@pytest.mark.parametrize(("odd", "side"), [(0, 32), (1, 32), (2, 224)])
def test_nine_in_ten_training_images_of_one_square_size_decide_the_size(odd, side, own):
    for number in range(10):
        size = (32, 40) if number < odd else (32, 32)
        Image.new("RGB", size).save(own / "images/train" / f"{number:02}.png")
        Image.new("L", size, number % 2).save(own / "masks/train" / f"{number:02}.png")
    assert opened(own).info.input_size == (3, side, side)


@pytest.mark.parametrize(("share", "sizes"), [(0.25, (6, 2)), (0.0, (8, 0))])
def test_validation_images_may_be_split_off(own, share, sizes):
    shutil.rmtree(own / "images/val")
    data = opened(own, val_split=share)
    assert (data.info.train_size, data.info.val_size) == sizes


def test_the_ignored_number_is_the_recipes(tmp_path):
    write_voc(tmp_path, splits={"train": 3, "val": 2})
    for ignored in (255, 254):
        if ignored == 254:
            for path in (tmp_path / "SegmentationClass").iterdir():
                mask = np.array(Image.open(path))
                Image.fromarray(np.where(mask == 255, 254, mask)).save(path)
        data = SegmentationData(f"voc:{tmp_path}", stated=stated(img_size=40), ignore_index=ignored)
        truth = next(data.eval_batches("test", batch_size=1))[1]
        assert data.ignore_index == ignored
        assert (truth == ignored).sum() == 40 * 10 + 40  # beside the image of 30 x 40, and its column of border


def test_classes_come_from_the_recipe_or_the_masks_where_no_file_names_them(own):
    (own / "classes.txt").unlink()
    assert opened(own).info.class_names == ("0", "1", "2")
    assert opened(own, num_classes=5).info.num_classes == 5
    with pytest.raises(DataError, match="the mask holds an undeclared class; expected 0 to 1, .*found 2 in"):
        opened(own, num_classes=2)


def test_an_undeclared_class_of_a_later_mask_is_said_when_it_is_met(own):
    Image.fromarray(np.full((32, 32), 9, dtype=np.uint8)).save(own / "masks/test/02.png")
    for workers in (0, 1):
        data = opened(own, workers=workers)
        with pytest.raises(
            DataError, match=r"masks/test/02\.png: the mask holds an undeclared class; .*found 9 in 1,024 p"
        ):
            list(data.eval_batches("test", batch_size=1))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_mask_of_another_size_is_said_at_once(split, own):
    Image.new("L", (31, 32)).save(own / "masks" / split / "01.png")
    with pytest.raises(DataError, match=rf"masks/{split}/01\.png: the mask has another size than its image"):
        opened(own)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"in_chans": 4}, DataError, "images have 1 or 3 channels; found in_chans=4"),
        ({"val_split": 0.01}, DataError, "two validation splits"),
        ({"stated": stated(mean=(0.5, 0.5), std=(0.5, 0.5))}, DataError, "mean of masks:"),
    ],
    ids=["channels", "validation", "mean"],
)
def test_what_cannot_be_is_refused(settings, error, words, shared):
    with pytest.raises(error, match=words):
        opened(shared, **settings)


def test_an_augmentation_without_effect_is_refused():
    with pytest.raises(SettingError, match="ratio: has no effect without scale"):
        SegmentationAugmentation(ratio=(1, 1))


@pytest.mark.parametrize("size", [(32, 32), (40, 20)])
def test_an_image_without_a_mask_is_prepared_as_in_evaluation(size, own):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    image.save(own / "images/test/00.png")
    Image.new("L", size).save(own / "masks/test/00.png")
    data = opened(own, stated=stated(img_size=24))
    expected = next(data.eval_batches("test", batch_size=1))[0][0]
    assert torch.equal(prepared(image, data.preprocessing), expected)


def test_a_vertical_flip_turns_image_and_mask_and_no_other_number(shared):
    settings = {"hflip": 0.5, "scale": (0.3, 1.5), "color_jitter": 0.3}
    always = opened(shared, augmentation=SegmentationAugmentation(**settings, vflip=1.0), **RAW)
    never = opened(shared, augmentation=SegmentationAugmentation(**settings), **RAW)
    for turned, plain in zip(
        *(all_of(d.train_batches(seed=0, epoch=0, batch_size=8)) for d in (always, never)), strict=True
    ):
        assert torch.equal(turned.flip(-2), plain)
        assert not torch.equal(turned, plain)


def test_repetitions_of_an_image_are_augmented_anew_and_the_first_as_without(shared):
    data = opened(shared, augmentation=ALL, **RAW)
    samples, _ = all_of(data.train_batches(seed=0, epoch=0, batch_size=8, repeats=2))
    once, _ = all_of(data.train_batches(seed=0, epoch=0, batch_size=8))
    assert torch.equal(samples[0::2], once[:4])
    assert not torch.equal(samples[0::2], samples[1::2])


def test_training_images_may_have_a_resampling_of_their_own(shared):
    small = stated(img_size=16, interpolation="bilinear")
    own = opened(shared, stated=small, augmentation=SegmentationAugmentation(interpolation="nearest"))
    other = opened(shared, stated=stated(img_size=16, interpolation="nearest"))
    for one, two in zip(*(d.train_batches(seed=0, epoch=0, batch_size=8) for d in (own, other)), strict=True):
        assert torch.equal(one[0], two[0])
