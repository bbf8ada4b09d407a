"""Records go to JSON and come back the same, or not at all."""

from dataclasses import dataclass

import pytest

from refconv.records import Record


@dataclass(frozen=True)
class Leaf(Record):
    """A record inside a record."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Renamed(Record, former={"site": "layer"}):
    """A record one of whose fields had another name once."""

    layer: str
    leaf: Leaf | None = None


@dataclass(frozen=True)
class Tree(Record):
    """Every kind of field that records use."""

    leaves: tuple[Leaf, ...]
    best: Leaf | None
    by_name: dict[str, Leaf]
    pair: tuple[int, str]
    count: int = 3


TREE = Tree((Leaf("a", (1.0, 2.5)), Leaf("ü", ())), None, {"x": Leaf("x", (0.1,))}, (1, "b"))


def test_record_round_trips_through_json(tmp_path):
    assert Tree.from_json(TREE.to_json()) == TREE
    TREE.write(tmp_path / "tree.json")
    assert Tree.read(tmp_path / "tree.json") == TREE
    assert Tree.from_dict({**TREE.to_dict(), "best": {"name": "n", "values": [1.0]}}).best == Leaf("n", (1.0,))


def test_fields_are_read_by_their_former_names_and_written_by_the_present_ones():
    assert Renamed.from_dict({"site": "a"}) == Renamed.from_dict({"layer": "a"}) == Renamed("a")
    assert Renamed("a").to_dict() == {"layer": "a", "leaf": None}
    with pytest.raises(ValueError, match=r"surplus keys \['site'\]"):
        Leaf.from_dict({"name": "a", "values": [], "site": "b"})


def test_record_with_surplus_or_missing_keys_is_refused():
    data = TREE.to_dict()
    with pytest.raises(ValueError, match=r"Tree: missing keys \['leaves'\], surplus keys \['more'\]"):
        Tree.from_dict({key: value for key, value in data.items() if key != "leaves"} | {"more": 1})
    del data["count"]
    assert Tree.from_dict(data) == TREE


@dataclass(frozen=True)
class Place(Record):
    """A record with a field that was called otherwise in earlier versions."""

    layer: str


def test_keys_of_earlier_versions_are_read():
    assert Place.from_dict({"site": "stem"}) == Place("stem")
