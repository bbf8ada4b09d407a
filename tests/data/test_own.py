"""The user's own datasets: samples that are functions of their coordinates, and what is refused."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, Subset, TensorDataset

from own_datasets import Blinking, blinking
from refconv.data import Augmentation, open_data
from refconv.data.own import HANDED_OVER, OwnData
from refconv.data.targets import Wanted
from refconv.errors import DataError, SettingError

NAME = "own_datasets:blinking"
ORDER = {"seed": 3, "epoch": 1, "batch_size": 10}


def same(one, other):
    one, other = list(one), list(other)
    assert len(one) == len(other) > 0
    for batches in zip(one, other, strict=True):
        assert all(torch.equal(*parts) for parts in zip(*batches, strict=True))


def test_what_is_known_comes_from_the_datasets():
    info = open_data(NAME).info
    assert (info.name, info.class_names, info.num_classes) == (NAME, Blinking.classes, 3)
    assert (info.train_size, info.val_size, info.test_size) == (70, 9, 12)
    assert (info.in_chans, info.input_size, info.mean, info.std) == (1, (1, 8, 8), (0.0,), (1.0,))
    samples, labels = next(open_data(NAME).train_batches(**ORDER))
    assert samples.shape == (10, 1, 8, 8)
    assert labels.dtype == torch.int64
    assert torch.equal(samples.mean(dim=(1, 2, 3)).round().long().clamp(0, 2) == labels, torch.ones(10, dtype=bool))


def test_validation_and_test_may_be_missing_and_labels_are_then_numbers():
    info = open_data("own_datasets:only_train").info
    assert (info.train_size, info.val_size, info.test_size) == (4, 0, 0)
    assert info.class_names == ("0", "1", "2", "3", "4")
    assert info.input_size == (2, 6)


@pytest.mark.parametrize(
    "wrap", [lambda data: data, lambda data: Subset(data, range(4))], ids=["tensors", "read sample by sample"]
)
def test_classes_without_names_are_numbers_up_to_the_largest_label(wrap):
    data = TensorDataset(torch.zeros(4, 1, 3, 3), torch.tensor([0, 2, 1, 2]))
    assert OwnData("mine", {"train": wrap(data)}).info.class_names == ("0", "1", "2")


def test_names_of_classes_come_first_and_targets_before_reading():
    class Targets(Blinking):
        classes = None
        targets = (0, 1, 2, 3)

    assert OwnData("mine", {"train": Targets()}).info.num_classes == 4


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_samples_are_functions_of_seed_epoch_and_index(workers):
    data, other = open_data(NAME, workers=workers), open_data(NAME)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    same(data.train_batches(**ORDER), other.train_batches(**ORDER))
    same(data.train_batches(**ORDER, first_batch=3), list(other.train_batches(**ORDER))[3:])
    same(data.eval_batches("val", batch_size=4), other.eval_batches("val", batch_size=4))
    one = torch.cat([samples for samples, _ in data.eval_batches("test", batch_size=5)])
    assert torch.equal(one, next(other.eval_batches("test", batch_size=12))[0])


def test_the_global_generators_are_left_alone():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    list(open_data(NAME).train_batches(**ORDER))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


@pytest.mark.parametrize("changed", [{"seed": 4}, {"epoch": 2}], ids=["seed", "epoch"])
def test_another_seed_or_epoch_draws_anew(changed):
    data = open_data(NAME)
    one, other = (
        torch.cat([samples for samples, _ in data.train_batches(**{**ORDER, **order})]).sort(dim=0).values
        for order in ({}, changed)
    )
    assert not torch.equal(one, other)


def test_two_processes_see_together_what_one_sees():
    data = open_data(NAME)
    whole = next(data.train_batches(**ORDER))[0]
    shares = [next(data.train_batches(**ORDER, rank=rank, world_size=2))[0] for rank in range(2)]
    assert torch.equal(torch.cat(shares), whole)


def test_datasets_that_are_handed_over_may_bring_their_collate_function(monkeypatch):
    def doubled(pairs):
        return 2 * torch.stack([sample for sample, _ in pairs]), torch.tensor([label for _, label in pairs])

    monkeypatch.setitem(HANDED_OVER, "Mine", {**blinking(), "val": None, "collate": doubled})
    data = open_data("Mine")
    assert data.info.val_size == 0
    assert torch.equal(next(data.train_batches(**ORDER))[0], 2 * next(open_data(NAME).train_batches(**ORDER))[0])
    assert set(HANDED_OVER["Mine"]) == {"train", "val", "test", "collate"}


MODULE = """
import torch
from torch.utils.data import TensorDataset

class Small(TensorDataset):
    pass

def small():
    return {"train": Small(torch.zeros(6, 1, 4, 4), torch.arange(6) % 2)}
"""


def test_a_module_of_the_current_folder_is_found_without_being_installed(tmp_path, monkeypatch):
    (tmp_path / "mydata_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    assert open_data("mydata_here:small").info.train_size == 6
    assert sys.path[-1] == str(tmp_path)  # behind all that is installed


@pytest.mark.slow
def test_workers_find_a_module_of_the_current_folder_too(tmp_path):
    (tmp_path / "mydata.py").write_text(MODULE)
    (tmp_path / "elsewhere").mkdir()
    script = tmp_path / "elsewhere/script.py"
    script.write_text(
        "from refconv.data import open_data\n"
        "if __name__ == '__main__':\n"
        "    data = open_data('mydata:small', workers=1)\n"
        "    print(len(list(data.train_batches(seed=0, epoch=0, batch_size=3))))\n"
    )
    found = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("2\n", 0), found.stderr


class Streamed(IterableDataset):
    def __iter__(self):
        return iter(())

    def __len__(self):
        return 3


class Fixed(list):
    """Samples that are given as they are."""


PAIRS = Fixed([(torch.zeros(1, 4, 4), 0)])


@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        ({"val": PAIRS}, "mine: no such splits; expected train, val and test, found val"),
        ({}, "mine: no such splits; expected train, val and test, found none"),
        ({"train": PAIRS, "valid": PAIRS}, ", found train, valid"),
        ({"train": PAIRS, "test": Fixed()}, "mine, test: no samples; expected at least one"),
        ({"train": Streamed()}, "mine, train: a dataset without .*expected a map-style dataset.*, found Streamed"),
        ({"train": iter(PAIRS)}, "mine, train: a dataset without .*, found list_iterator"),
        ({"train": Fixed([torch.zeros(1, 4, 4)])}, r"mine, train\[0\]: not a sample .*, found Tensor"),
        ({"train": Fixed([(torch.zeros(4), 0)])}, r"expected a pair of a tensor \[C, ...\] .*, found Tensor, int"),
        ({"train": Fixed([(torch.zeros(1, 4, 4), 0.5)])}, "found Tensor, float"),
        ({"train": Fixed([(torch.zeros(1, 4, 4), True)])}, "found Tensor, bool"),
        ({"train": Fixed([(np.zeros((1, 4, 4)), 0)])}, "found ndarray, int"),
        ({"train": Fixed([(torch.zeros(1, 4, 4), 0, 1)])}, "found Tensor, int, int"),
        ({"train": Fixed([(torch.zeros(1, 4, 4), -1)])}, r"mine, train\[0\]: no such class"),
    ],
)
def test_what_is_no_dataset_of_a_classifier_is_refused(datasets, words):
    with pytest.raises(DataError, match=words):
        OwnData("mine", datasets)


@pytest.mark.parametrize("label", [np.int64(0), torch.tensor(0)], ids=["numpy", "tensor"])
def test_whole_numbers_of_other_libraries_are_labels(label):
    data = OwnData("mine", {"train": Fixed([(torch.zeros(1, 4, 4), label)] * 2)})
    assert next(data.train_batches(seed=0, epoch=0, batch_size=2))[1].tolist() == [0, 0]


def test_fewer_names_than_classes_are_refused():
    class Named(Fixed):
        classes = ("a", "b")

    with pytest.raises(DataError, match="no such class; expected a number from 0 to 1, found 2"):
        OwnData("mine", {"train": Named([(torch.zeros(1, 4, 4), 2)])})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_datasets:missing", "own_datasets:missing: cannot open the data; .*AttributeError"),
        ("no_such_module_here:train", "found ModuleNotFoundError"),
        ("own_datasets:failing", "found OSError: the disk is away"),
        ("own_datasets:nothing", "not a mapping of datasets; .*found NoneType"),
    ],
)
def test_what_cannot_be_opened_is_refused(name, words):
    with pytest.raises(DataError, match=words):
        open_data(name)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"val_split": 0.1}, "val_split"),
        ({"root": "somewhere"}, "data_dir"),
        ({"img_size": 16}, "img_size"),
        ({"mean": (0.5,)}, "mean"),
        ({"std": (0.5,)}, "std"),
    ],
)
def test_what_the_datasets_decide_themselves_is_refused(settings, where):
    with pytest.raises(SettingError, match=f"{where}: own datasets decide this themselves"):
        open_data(NAME, **settings)


def test_augmentation_is_refused_and_so_are_other_channels():
    with pytest.raises(SettingError, match="augmentation: own datasets decide this themselves"):
        open_data(NAME, augmentation=Augmentation(hflip=0.5))
    with pytest.raises(DataError, match="cannot provide this number of channels; expected 1, found 3"):
        open_data(NAME, in_chans=3)
    assert open_data(NAME, in_chans=1).info.in_chans == 1


PAIRS = TensorDataset(torch.rand(6, 1, 4, 4), torch.tensor([[0.5, 2], [1, 3], [torch.nan, 1], [2, 2], [0, 0], [1, 1]]))


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: Subset(data, range(6))], ids=["tensors", "read"])
def test_targets_may_be_several_values(wrap):
    data = OwnData("mine", {"train": wrap(PAIRS)}, wanted=Wanted("values"))
    assert (data.info.num_classes, data.info.class_names) == (2, ("0", "1"))
    torch.testing.assert_close(data.train_targets(), PAIRS.tensors[1], equal_nan=True)
    _, targets = next(data.eval_batches("train", batch_size=3))
    torch.testing.assert_close(targets, PAIRS.tensors[1][:3], equal_nan=True)


def test_one_value_or_label_a_sample_is_a_column():
    values = OwnData("mine", {"train": [(torch.zeros(1, 4), 0.5), (torch.zeros(1, 4), 2.0)]}, wanted=Wanted("values"))
    assert values.train_targets().tolist() == [[0.5], [2]]
    labels = TensorDataset(torch.zeros(4, 1, 4), torch.tensor([0, 1, 1, 0]))
    one = OwnData("mine", {"train": labels}, wanted=Wanted("labels", one=True))
    assert next(one.eval_batches("train", batch_size=4))[1].tolist() == [[0], [1], [1], [0]]
    named = OwnData("mine", {"train": Blinking(9)}, wanted=Wanted("labels", one=True, positive="grey"))
    assert (named.info.class_names, next(named.eval_batches("train", batch_size=3))[1].tolist()) == (
        ("grey",), [[0], [1], [0]],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "wanted", "message"),
    [
        ([(torch.zeros(1, 4), "a")], Wanted("values"), "mine, train: targets are no numbers"),
        ([(torch.zeros(1, 4), [1.0]), (torch.zeros(1, 4), [1.0, 2.0])], Wanted("values"), "targets are no numbers"),
        ([torch.zeros(1, 4)], Wanted("values"), r"mine, train\[0\]: not a sample with targets; .*found Tensor"),
        (PAIRS, Wanted("labels"), "labels are no yes or no; .*found 0, 0.5, 1, 2, 3"),
    ],
)
def test_what_are_no_targets_is_refused(dataset, wanted, message):
    with pytest.raises(DataError, match=message):
        OwnData("mine", {"train": dataset}, wanted=wanted)


def test_repetitions_of_a_sample_are_drawn_anew():
    class Drawn(torch.utils.data.Dataset):
        classes = ("a", "b")

        def __len__(self):
            return 8

        def __getitem__(self, index):
            return torch.full((1, 2, 2), float(index)) + torch.rand(1) / 2, index % 2

    data = OwnData("drawn", {"train": Drawn()})
    samples, labels = next(data.train_batches(seed=0, epoch=0, batch_size=8, repeats=2))
    once, _ = next(data.train_batches(seed=0, epoch=0, batch_size=8))
    assert torch.equal(samples[0::2], once[:4])
    assert torch.equal(samples[0::2].floor(), samples[1::2].floor())
    assert not torch.equal(samples[0::2], samples[1::2])
    assert torch.equal(labels, samples[:, 0, 0, 0].floor().long() % 2)
