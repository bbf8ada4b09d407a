"""The truth about a scene is exact: every pixel belongs to the item that is seen there."""

import numpy as np
import pytest

from refconv.data.scenes.composition import MIN_VISIBLE, PATTERNS, Item, background, compose

SIZE = 64


def disc(label, brightness=1.0):
    """An item whose shape is a disc that nearly fills its picture."""
    y, x = np.mgrid[0:28, 0:28] - 13.5
    mask = y**2 + x**2 < 13**2
    return Item(np.where(mask, brightness, 0).astype(np.float32), mask, label)


def draws(seed):
    return np.random.default_rng(seed)


def test_a_scene_is_a_function_of_its_draws():
    first, second, other = (compose(draws(seed), [disc(1), disc(2)], size=SIZE, mirror=True) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.classes, second.classes)
    assert (first.image != other.image).any()


@pytest.mark.parametrize("seed", range(10))
def test_an_item_changes_its_own_pixels_and_no_others(seed):
    # Everything drawn for the background comes before the items, so both scenes have the same one.
    bare = compose(draws(seed), [], size=SIZE, mirror=True)
    scene = compose(draws(seed), [disc(3)], size=SIZE, mirror=True)
    changed = (bare.image != scene.image).any(2)
    assert not (changed & (scene.classes == 0)).any()
    # A tinted pixel may by chance be what was there before, though hardly many.
    assert (changed & (scene.classes == 3)).sum() >= 0.99 * (scene.classes == 3).sum() > 0


@pytest.mark.parametrize("seed", range(10))
def test_masks_boxes_and_classes_say_the_same(seed):
    items = [disc(label) for label in (1, 2, 3, 4, 5)]
    scene = compose(draws(seed), items, size=SIZE, mirror=True)
    stack = np.stack([instance.mask for instance in scene.instances])
    assert stack.sum(0).max() == 1  # no pixel belongs to two
    for instance in scene.instances:
        assert (scene.classes[instance.mask] == instance.label).all()
        assert instance.area >= MIN_VISIBLE
        x0, y0, x1, y1 = instance.box
        assert instance.mask[y0:y1, x0:x1].sum() == instance.area
        assert all(side.any() for side in (instance.mask[y0], instance.mask[y1 - 1]))
        assert all(side.any() for side in (instance.mask[:, x0], instance.mask[:, x1 - 1]))
    assert len(scene.instances) + scene.hidden == len(items)
    # Labels differ, so what no instance covers but has a class can only be of hidden items.
    left = (scene.classes > 0) & ~stack.any(0)
    assert not np.isin(scene.classes[left], [instance.label for instance in scene.instances]).any()
    np.testing.assert_array_equal(scene.objects > 0, stack.any(0))


def test_what_lies_behind_loses_what_is_before_it():
    # The later item's mask is its whole shape; with the same draws alone, the first one's was whole too.
    for seed in range(20):
        alone = compose(draws(seed), [disc(1)], size=SIZE, mirror=False).instances[0]
        scene = compose(draws(seed), [disc(1), disc(2)], size=SIZE, mirror=False)
        front = scene.classes == 2
        np.testing.assert_array_equal(scene.classes == 1, alone.mask & ~front)
        behind = [instance for instance in scene.instances if instance.label == 1]
        assert all(instance.occluded == bool((alone.mask & front).any()) for instance in behind)


def test_items_are_round_and_as_large_as_drawn_whatever_the_turn():
    for seed in range(30):
        (instance,) = compose(draws(seed), [disc(1)], size=SIZE, mirror=True).instances
        if instance.truncated:
            continue
        x0, y0, x1, y1 = instance.box
        assert abs((x1 - x0) - (y1 - y0)) <= 2
        # A disc fills pi / 4 of its box.
        assert instance.area == pytest.approx(np.pi / 4 * (x1 - x0) * (y1 - y0), rel=0.15)
        assert 0.2 * SIZE * 26 / 28 - 2 <= x1 - x0 <= 0.55 * SIZE * 26 / 28 + 2


def test_an_item_beyond_the_edge_is_truncated():
    seen = [compose(draws(seed), [disc(1)], size=SIZE, mirror=True).instances[0] for seed in range(40)]
    for instance in seen:
        x0, y0, x1, y1 = instance.box
        assert instance.truncated <= (x0 == 0 or y0 == 0 or x1 == SIZE or y1 == SIZE)
    assert {instance.truncated for instance in seen} == {True, False}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [32, 45])
def test_patterns_fill_the_range_and_no_more(pattern, size):
    fields = [PATTERNS[pattern](np.random.default_rng(seed), size) for seed in range(5)]
    for field in fields:
        assert field.shape == (size, size)
        assert field.min() >= 0
        assert field.max() <= 1
        assert np.ptp(field) > 0.5
    assert (fields[0] != fields[1]).any()


def test_backgrounds_have_colour():
    image = background(np.random.default_rng(0), 32)
    assert image.shape == (32, 32, 3)
    assert 0 <= image.min() <= image.max() <= 1
    assert (image[..., 0] != image[..., 1]).any()
