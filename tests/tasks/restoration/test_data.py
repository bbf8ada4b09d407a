"""Restoration data: patches as functions of seed, epoch and index; whole pictures, degraded the same for everyone."""

import numpy as np
import pytest
import torch
from PIL import Image

from refconv.errors import DataError
from refconv.tasks.restoration import data as restoration
from refconv.tasks.restoration.data import Degradation, RestorationData, rounded


def write(folder, sizes, seed=0):
    """Write smooth pictures of random colours, sizes as (height, width)."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for index, (height, width) in enumerate(sizes):
        coarse = Image.fromarray(generator.integers(0, 255, (5, 5, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return f"images:{folder}"


def opened(name, noise=0.0, upscale=1, **settings):
    return RestorationData(name, degradation=Degradation(noise=noise, upscale=upscale), **settings)


@pytest.fixture
def pictures(tmp_path):
    return write(tmp_path, [(40, 50), (33, 37), (64, 16)])


def test_info_says_sizes_of_samples_and_splits(tmp_path):
    name = write(tmp_path / "train", [(40, 50), (33, 37), (64, 16)])
    write(tmp_path / "val", [(20, 30)])
    write(tmp_path / "test", [(20, 30)] * 2)
    info = opened(f"images:{tmp_path}", upscale=3, patch_size=16).info
    # Patches have 15 pixels, the largest multiple of 3: 2 x 3 + 2 x 2 + 4 x 1 of them lie side by side.
    assert (info.train_size, info.val_size, info.test_size) == (14, 1, 2)
    assert (info.input_size, info.num_classes, info.class_names) == ((3, 5, 5), 0, ())
    assert opened(name, noise=5, patch_size=16, in_chans=1).info.input_size == (1, 16, 16)


@pytest.mark.parametrize(("noise", "upscale"), [(25, 1), (0, 2), (5, 3)])
def test_training_is_a_function_of_seed_epoch_and_position(pictures, noise, upscale):
    data = opened(pictures, noise=noise, upscale=upscale, patch_size=16)
    torch.manual_seed(0)
    whole = list(data.train_batches(seed=1, epoch=2, batch_size=4))
    torch.manual_seed(1)
    again = list(
        opened(pictures, noise=noise, upscale=upscale, patch_size=16).train_batches(
            seed=1, epoch=2, batch_size=4, first_batch=1
        )
    )
    assert len(whole) == len(again) + 1 >= 2
    for (x, y), (a, b) in zip(whole[1:], again, strict=True):
        assert torch.equal(x, a)
        assert torch.equal(y, b)
    other = next(data.train_batches(seed=1, epoch=3, batch_size=4))
    assert not torch.equal(other[1], whole[0][1])
    x, y = whole[0]
    assert x.shape == (4, 3, 16 // upscale, 16 // upscale)
    assert y.shape == (4, 3, x.shape[2] * upscale, x.shape[3] * upscale)
    assert 0 <= y.min() <= y.max() <= 1


def test_two_processes_share_the_batches_of_one(pictures):
    data = opened(pictures, noise=10, patch_size=16)
    (x, _), *_ = data.train_batches(seed=0, epoch=0, batch_size=4)
    shares = [next(data.train_batches(seed=0, epoch=0, batch_size=4, rank=rank, world_size=2))[0] for rank in (0, 1)]
    assert torch.equal(torch.cat(shares), x)


def positions(patch, clean, upscale):
    """All places of a picture, and ways to turn and mirror it, that show the patch."""
    found = []
    side = patch.shape[-1]
    for mirrored in (False, True):
        upright = patch.flip(-1) if mirrored else patch
        for turns in range(4):
            turned = torch.rot90(upright, -turns, (-2, -1))
            windows = clean.unfold(1, side, upscale).unfold(2, side, upscale)
            same = (windows == turned[:, None, None]).all(dim=-1).all(dim=-1).all(dim=0)
            found += [(turns, mirrored, *place) for place in (same.nonzero() * upscale).tolist()]
    return found


@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_small_patch_is_cut_from_the_small_picture(tmp_path, upscale):
    """Degrading a patch alone would show its edges; a whole picture degraded first would not."""
    name = write(tmp_path, [(48, 60)])
    data = opened(name, upscale=upscale, patch_size=12)
    values = torch.from_numpy(np.asarray(Image.open(tmp_path / "0.png")).copy()).permute(2, 0, 1).float() / 255
    small = Degradation(upscale=upscale).shrunk(values)
    seen = set()
    for epoch in range(3):
        for samples, targets in data.train_batches(seed=0, epoch=epoch, batch_size=4):
            for sample, target in zip(samples, targets, strict=True):
                turns, mirrored, top, left = positions(target, values, upscale)[0]
                seen.add((turns, mirrored))
                side = 12 // upscale
                y, x = top // upscale, left // upscale
                expected = torch.rot90(small[:, y : y + side, x : x + side], turns, (-2, -1))
                torch.testing.assert_close(sample, expected.flip(-1) if mirrored else expected, atol=1.01 / 255, rtol=0)
                exact = (sample - (expected.flip(-1) if mirrored else expected)).abs() < 1e-5
                assert exact.float().mean() > 0.97  # elsewhere 0.5 was rounded the other way
    assert len(seen) == 8


def test_whole_pictures_are_evaluated_one_by_one_and_cropped_to_multiples(tmp_path):
    write(tmp_path / "train", [(32, 32)])
    write(tmp_path / "test", [(40, 50), (33, 37), (64, 23)])
    data = opened(f"images:{tmp_path}", upscale=3, patch_size=12)
    found = [(tuple(x.shape), tuple(y.shape)) for x, y in data.eval_batches("test", batch_size=2)]
    assert found == [
        ((1, 3, 13, 16), (1, 3, 39, 48)),
        ((1, 3, 11, 12), (1, 3, 33, 36)),
        ((1, 3, 21, 7), (1, 3, 63, 21)),
    ]


def test_evaluation_noise_depends_on_the_picture_alone(tmp_path):
    write(tmp_path / "here" / "train", [(32, 32)])
    write(tmp_path / "here" / "test", [(20, 20)] * 3, seed=1)
    write(tmp_path / "there", [(20, 20)] * 3, seed=1)
    here = opened(f"images:{tmp_path / 'here'}", noise=25, patch_size=16)
    there = opened(f"images:{tmp_path / 'there'}", noise=25, for_training=False)
    together = [x for x, _ in here.eval_batches("test", batch_size=4)]
    assert all(torch.equal(x, y) for x, (y, _) in zip(together, there.eval_batches("test", batch_size=1), strict=True))
    shares = [x for rank in (0, 1) for x, _ in here.eval_batches("test", batch_size=1, rank=rank, world_size=2)]
    assert all(torch.equal(together[i], x) for i, x in zip((0, 2, 1), shares, strict=True))
    first, second, _ = (x - y for x, y in here.eval_batches("test", batch_size=1))
    assert not torch.allclose(first, second, atol=0.1)


def test_training_patches_are_evaluated_side_by_side_without_chance(tmp_path):
    data = opened(write(tmp_path, [(32, 48)]), noise=10, patch_size=16)
    (_, clean), *_ = data.eval_batches("train", batch_size=6)
    values = torch.from_numpy(np.asarray(Image.open(tmp_path / "0.png")).copy()).permute(2, 0, 1).float() / 255
    assert torch.equal(clean[4], values[:, 16:32, 16:32])
    again = next(data.eval_batches("train", batch_size=6))
    assert torch.equal(again[0], next(data.eval_batches("train", batch_size=6))[0])


@pytest.mark.slow
def test_pictures_read_by_workers_are_those_held_in_memory(pictures, monkeypatch):
    held = opened(pictures, noise=10, patch_size=16, workers=2)
    expected = list(held.train_batches(seed=0, epoch=0, batch_size=4))
    monkeypatch.setattr(restoration, "_HELD_BYTES", 0)
    read = list(opened(pictures, noise=10, patch_size=16, workers=1).train_batches(seed=0, epoch=0, batch_size=4))
    for (x, y), (a, b) in zip(expected, read, strict=True):
        assert torch.equal(x, a)
        assert torch.equal(y, b)


def test_validation_pictures_are_not_trained_on(tmp_path):
    name = write(tmp_path, [(16, 16)] * 8)
    data = opened(name, noise=5, patch_size=16, val_split=0.25)
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (6, 2, 0)
    trained = next(data.eval_batches("train", batch_size=6))[1]
    for _, picture in data.eval_batches("val", batch_size=1):
        assert not any(torch.equal(picture[0], patch) for patch in trained)
    with pytest.raises(DataError, match="no samples to evaluate on"):
        data.eval_batches("test", batch_size=1)


@pytest.mark.parametrize(
    ("sizes", "settings", "message"),
    [
        (
            [(40, 40), (15, 40), (9, 9)],
            {"patch_size": 16},
            r"1.png: image too small; expected at least 16 x 16 pixels, "
            r"found 40 x 15, and 1 more such images; lower patch_size",
        ),
        ([(40, 40)], {"patch_size": 16, "in_chans": 4}, "images have 1 or 3 channels"),
        ([(40, 40)], {"patch_size": 16, "val_split": 0.4}, "leaves nothing to validate on"),
    ],
)
def test_impossible_data_is_refused(tmp_path, sizes, settings, message):
    name = write(tmp_path, sizes)
    with pytest.raises(DataError, match=message):
        opened(name, noise=5, **settings)


def test_pictures_too_small_to_compare_are_refused(tmp_path):
    name = write(tmp_path, [(40, 40), (40, 14)])
    assert opened(name, noise=5, for_training=False).info.test_size == 2
    with pytest.raises(DataError, match=r"1.png: image too small; expected at least 15 x 15 pixels, found 14 x 40"):
        opened(name, upscale=2, for_training=False)


def test_damaged_picture_is_said_in_one_line(tmp_path):
    name = write(tmp_path, [(32, 32)])
    path = tmp_path / "0.png"
    path.write_bytes(path.read_bytes()[:200])
    data = opened(name, noise=5, patch_size=16)
    with pytest.raises(DataError, match=r"0.png: unreadable image"):
        list(data.train_batches(seed=0, epoch=0, batch_size=2))


def test_small_pictures_are_8_bit_even_where_noise_is_not(tmp_path):
    name = write(tmp_path, [(32, 32)])
    (x, _), *_ = opened(name, upscale=2, patch_size=32).eval_batches("train", batch_size=1)
    torch.testing.assert_close(x, rounded(x))
    (x, _), *_ = opened(name, upscale=2, noise=3, patch_size=32).eval_batches("train", batch_size=1)
    assert not torch.allclose(x, rounded(x), atol=1e-4)


def test_repetitions_of_a_patch_are_drawn_anew(pictures):
    data = opened(pictures, noise=10, patch_size=16)
    (degraded, clean), *_ = data.train_batches(seed=0, epoch=0, batch_size=4, repeats=2)
    once, _ = next(data.train_batches(seed=0, epoch=0, batch_size=4))
    assert torch.equal(degraded[0::2], once[:2])
    assert not torch.equal(clean[0::2], clean[1::2])
