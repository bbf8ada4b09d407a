"""Items are cut out of their black surroundings, in pools that share none."""

import numpy as np
import pytest

from refconv.data.scenes import items
from refconv.data.scenes.items import pools
from refconv.errors import DataError, SettingError


def test_pools_share_no_item():
    pool, names = pools("digits")
    assert names == tuple("0123456789")
    pictures = {split: [part[index].pixels.tobytes() for index in range(len(part))] for split, part in pool.items()}
    assert [len(part) for part in pool.values()] == [1294, 144, 359]
    together = [picture for part in pictures.values() for picture in part]
    # The digits hold no two equal images, so equal bytes would be one image in two pools.
    assert len({*together}) == len(together) == 1797


def test_items_are_what_is_bright():
    item = pools("digits")[0]["train"][0]
    np.testing.assert_array_equal(item.mask, item.pixels >= 0.25)
    assert 1 <= item.label <= 10


def test_narrow_gaps_belong_to_fashion_items_and_wide_ones_do_not(idx_folder, tmp_path):
    pool, names = pools("fashion-mnist", str(idx_folder(tmp_path / "fashion")))
    assert len(names) == 10
    part = pool["test"]
    part._images[0] = 0
    part._images[0, :, 4:24] = 200
    part._images[0, 10, 10] = 0  # a dark pixel
    part._images[0, 14:20, 14:20] = 0  # a hole
    mask = part[0].mask
    assert mask[10, 10]
    assert not mask[15:19, 15:19].any()
    assert mask[0, 4:24].all()
    assert mask[:, 0:4].sum() == 0


def test_an_unknown_source_is_refused():
    with pytest.raises(SettingError, match="fashion-mnist or digits, found 'cifar10'"):
        pools("cifar10")


def test_where_fashion_mnist_is_missing_the_remedy_names_digits(monkeypatch):
    def missing(root):
        raise DataError("cannot be downloaded", where="fashion-mnist", remedy="install it")

    monkeypatch.setitem(items.SOURCES, "fashion-mnist", missing)
    with pytest.raises(DataError, match=r"install it, or compose digits: --source digits"):
        pools("fashion-mnist")
