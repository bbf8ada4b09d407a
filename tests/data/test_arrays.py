"""Arrays on disk, sounds, and images of any number of channels."""

import numpy as np
import pytest
import torch
from PIL import Image

from refconv.data import Augmentation, open_data
from refconv.data.arrays import channels_first, open_arrays, read_tensor
from refconv.data.targets import Wanted
from refconv.errors import DataError

DRAWN = np.random.default_rng(0)


def save(path, **arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        path.mkdir()
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
    return f"arrays:{path}"


def pair(x, y, tested=4):
    return {"x_train": x[tested:], "y_train": y[tested:], "x_test": x[:tested], "y_test": y[:tested]}


@pytest.mark.parametrize("place", ["set.npz", "set"])
@pytest.mark.parametrize(
    ("shape", "dtype", "sample"),
    [
        ((8, 8), np.uint8, (1, 8, 8)),
        ((8, 8, 5), np.uint16, (5, 8, 8)),
        ((2, 40), np.float32, (2, 40)),
        ((40,), np.float64, (1, 40)),
    ],
    ids=["grey", "channels last", "signals", "one channel"],
)
def test_arrays_are_samples_of_any_kind(tmp_path, place, shape, dtype, sample):
    y = np.arange(20) % 3
    x = (DRAWN.random((20, *shape)) * (1 if dtype in {np.float32, np.float64} else np.iinfo(dtype).max)).astype(dtype)
    data = open_data(save(tmp_path / place, **pair(x, y)), val_split=0.25)
    assert data.info.input_size == sample
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (12, 4, 4)
    assert data.info.class_names == ("0", "1", "2")
    samples, classes = next(data.eval_batches("test", batch_size=4))
    assert classes.tolist() == [0, 1, 2, 0]
    values = x[:4].astype(np.float64) / (1 if x.dtype.kind == "f" else np.iinfo(dtype).max)
    values = np.moveaxis(values, -1, 1) if shape == (8, 8, 5) else values.reshape(4, *sample)
    mean, std = (np.array(one).reshape(-1, *[1] * (len(sample) - 1)) for one in (data.info.mean, data.info.std))
    torch.testing.assert_close(samples, torch.from_numpy((values - mean) / std).float(), atol=1e-4, rtol=1e-4)
    whole = torch.cat([part for split in ("train", "val") for part, _ in data.eval_batches(split, batch_size=7)])
    axes = [0, *range(2, whole.ndim)]
    torch.testing.assert_close(whole.mean(axes), torch.zeros(sample[0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(whole.std(axes, correction=0), torch.ones(sample[0]), atol=1e-3, rtol=0)


def test_files_in_a_folder_are_mapped_and_not_read(tmp_path):
    save(tmp_path / "set", **pair(np.zeros((9, 8, 8), np.uint8), np.zeros(9, int)))
    assert all(isinstance(array, np.memmap) for array in open_arrays(tmp_path / "set").values())


def test_names_of_other_sets_are_understood_and_validation_samples_kept(tmp_path):
    x, y = DRAWN.random((12, 6, 6)), DRAWN.integers(0, 2, (12, 1))
    arrays = {"train_images": x[:6], "train_labels": y[:6], "val_images": x[6:9], "val_labels": y[6:9]}
    data = open_data(save(tmp_path / "a.npz", **arrays, test_images=x[9:], test_labels=y[9:]))
    assert (data.info.train_size, data.info.val_size, data.info.test_size) == (6, 3, 3)
    assert torch.equal(next(data.eval_batches("val", batch_size=3))[1], torch.from_numpy(y[6:9, 0]).long())


def test_targets_may_be_labels_and_values(tmp_path):
    x = DRAWN.random((10, 6, 6))
    labels = open_data(save(tmp_path / "a.npz", **pair(x, DRAWN.integers(0, 2, (10, 3)))), wanted=Wanted("labels"))
    assert labels.info.num_classes == 3
    values = open_data(save(tmp_path / "b.npz", **pair(x, DRAWN.random(10))), wanted=Wanted("values"))
    assert (values.info.num_classes, values.info.class_names) == (1, ("value",))
    assert next(values.eval_batches("test", batch_size=4))[1].shape == (4, 1)


def test_augmentation_and_size_are_those_of_data_in_memory(tmp_path):
    x = DRAWN.random((12, 6, 8)).astype(np.float32)
    name = save(tmp_path / "a.npz", **pair(x, np.arange(12) % 2))
    data = open_data(name, augmentation=Augmentation(hflip=1.0), img_size=16)
    mirrored, _ = next(data.train_batches(seed=0, epoch=0, batch_size=8))
    plain = torch.cat([samples for samples, _ in data.eval_batches("train", batch_size=8)])
    assert mirrored.shape == (8, 1, 16, 16)
    assert sorted(mirrored.flip(-1).sum((1, 2, 3)).tolist()) == pytest.approx(sorted(plain.sum((1, 2, 3)).tolist()))


def test_how_axes_are_read():
    assert channels_first((40, 2)) == (1, 0)
    assert channels_first((5, 32, 32)) == channels_first((5, 5, 5)) == (0, 1, 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 8, 8))}, "not a set of samples and targets; expected x_train, y_train, .*found x"),
        (pair(np.zeros((9, 8, 8)), np.zeros(8, int)), "as many targets as samples are needed; found 5 and 4"),
        (pair(np.full((9, 8, 8), np.nan), np.zeros(9, int)), "samples are not finite"),
        (pair(np.zeros((9, 2, 2, 2, 2)), np.zeros(9, int)), "not samples"),
        (pair(np.zeros((9, 8, 8)), np.full(9, 0.5)), "has several targets a sample"),
        (pair(np.zeros((9, 8, 8), complex), np.zeros(9, int)), "not numbers; found complex128"),
    ],
    ids=["names", "lengths", "nan", "axes", "floats", "complex"],
)
def test_what_is_no_set_is_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        open_data(save(tmp_path / "a.npz", **arrays))


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.npz: no such file or folder"):
        open_data(f"arrays:{tmp_path}/a.npz")
    (tmp_path / "b.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"b\.npz: cannot be read; expected a \.npz file"):
        open_data(f"arrays:{tmp_path}/b.npz")


def folders(root, write, ending, count=3):
    for split in ("train", "test"):
        for number, name in enumerate("ab"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                write(root / split / name / f"{index}{ending}", number, index)
    return f"folder:{root}"


def rgba(path, number, index):
    values = np.zeros((8, 8, 4), np.uint8)
    values[..., 3] = 100 * number + index
    values[..., 0] = 50
    Image.fromarray(values).save(path)


def test_images_with_four_channels_keep_the_fourth(tmp_path):
    data = open_data(folders(tmp_path, rgba, ".png"), in_chans=4)
    assert data.info.input_size == (4, 8, 8)
    samples, classes = next(data.eval_batches("test", batch_size=6))
    mean, std = (torch.tensor(one).view(4, 1, 1) for one in (data.info.mean, data.info.std))
    values = 255 * (samples * std + mean)
    assert values[:, 3, 0, 0].round().tolist() == [0, 1, 2, 100, 101, 102]
    assert values[:, 0].round().unique().tolist() == [50]
    assert data.info.std[:3] == (1, 1, 1)  # of constant channels
    assert classes.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_multispectral_files_are_read_with_all_their_bands(tmp_path, workers):
    tifffile = pytest.importorskip("tifffile")

    def write(path, number, index):
        tifffile.imwrite(path, np.full((7, 10, 12), 1000 * number + index, np.uint16))

    data = open_data(folders(tmp_path, write, ".tif"), in_chans=7, img_size=5, workers=workers)
    samples, _ = next(data.train_batches(seed=0, epoch=0, batch_size=6))
    assert samples.shape == (6, 7, 5, 5)


def test_single_arrays_in_folders_are_samples(tmp_path):
    name = folders(tmp_path, lambda path, number, index: np.save(path, np.full((2, 30), number, np.float32)), ".npy")
    data = open_data(name)
    assert data.info.input_size == (2, 30)
    with pytest.raises(DataError, match="expected 3 channels, found 2; give --in-chans 2"):
        open_data(name, in_chans=3)


def test_sounds_are_as_long_as_the_longest_and_padded(tmp_path):
    soundfile = pytest.importorskip("soundfile")

    def write(path, number, index):
        soundfile.write(path, np.full((100 + 10 * index, 2), [0.5, 0.25 * number]), 8000, subtype="FLOAT")

    name = folders(tmp_path, write, ".wav")
    assert open_data(name).info.input_size == (2, 120)
    data = open_data(name, in_chans=1)
    assert data.info.input_size == (1, 120)
    samples, _ = next(data.eval_batches("test", batch_size=6))
    values = samples * data.info.std[0] + data.info.mean[0]
    torch.testing.assert_close(values[0, 0, :100], torch.full((100,), 0.25))  # the mean of both channels
    torch.testing.assert_close(values[0, 0, 100:], torch.zeros(20), atol=1e-6, rtol=0)
    shorter = open_data(name, in_chans=1, img_size=60)
    assert shorter.info.input_size == (1, 60)
    soundfile.write(tmp_path / "test/a/0.wav", np.zeros(50), 16000)
    with pytest.raises(DataError, match="another sampling rate; expected 8000 Hz, found 16000 Hz"):
        list(open_data(name, in_chans=1).eval_batches("test", batch_size=6))
    (tmp_path / "test/a/0.wav").write_text("no sound")
    with pytest.raises(DataError, match="unreadable sound"):
        list(open_data(name, in_chans=1).eval_batches("test", batch_size=6))


def test_a_file_that_differs_is_named(tmp_path):
    name = folders(tmp_path, rgba, ".png")
    Image.new("RGB", (8, 8)).save(tmp_path / "test/b/2.png")
    with pytest.raises(DataError, match=r"b/2.png: a sample of another kind; expected 4 channels and 2 axes, found"):
        list(open_data(name, in_chans=4).eval_batches("test", batch_size=6))


def test_sixteen_bits_are_the_share_of_the_whole_range(tmp_path):
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", np.full((4, 4), 32768, np.uint16))
    values, rate = read_tensor(str(tmp_path / "b.npy"))
    assert rate is None
    torch.testing.assert_close(values, torch.full((1, 4, 4), 32768 / 65535))


def test_a_file_that_was_cut_short_is_one_line(tmp_path):
    save(tmp_path / "a.npz", **pair(DRAWN.random((10, 3, 8)), DRAWN.integers(0, 2, 10)))
    content = (tmp_path / "a.npz").read_bytes()
    for length in (0, 100, 500, len(content) - 10):
        (tmp_path / "a.npz").write_bytes(content[:length])
        with pytest.raises(DataError, match="a.npz: cannot be read; expected a .npz file"):
            open_data(f"arrays:{tmp_path / 'a.npz'}")
