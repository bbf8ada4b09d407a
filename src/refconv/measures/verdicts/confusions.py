"""The samples that changed sides, one by one: what they were taken for, and two pairs beside each other."""

from __future__ import annotations

from collections import Counter

from refconv.measures.pairs import Measured

Confusion = tuple[int, int]
"""A class and another one that it was taken for."""


def same_samples_difference(subject: Measured, reference: Measured) -> tuple[int, int] | None:
    """Return how many samples only the first pair's result has right, and how many only the second's.

    Both pairs start from one model, so a sample that neither pair names as changed has the same class in both results.

    Returns:
        None if the pairs do not have one start and the same samples, or do not name all samples that changed.
    """
    first, second = subject.record, reference.record
    starts = [(record.both_right + record.lost, record.samples) for record in (first, second)]
    prints = {item.pair.facts.before.fingerprint for item in (subject, reference)}
    if starts[0] != starts[1] or len(prints) > 1 or first.listed < 1 or second.listed < 1:
        return None
    mine, theirs = ({row.place: row for row in record.changed} for record in (first, second))
    wins = losses = 0
    for place in mine.keys() | theirs.keys():
        row = mine.get(place) or theirs[place]
        rights = [
            (changed[place].after if place in changed else row.before) == row.target for changed in (mine, theirs)
        ]
        wins += rights[0] and not rights[1]
        losses += rights[1] and not rights[0]
    return wins, losses


def confusions(item: Measured) -> Counter[Confusion]:
    """Return by how many samples each confusion grew, those that came to it less those that left it."""
    found: Counter[Confusion] = Counter()
    for row in item.record.changed:
        if row.before != row.target:
            found[row.target, row.before] -= 1
        if row.after != row.target:
            found[row.target, row.after] += 1
    return found
