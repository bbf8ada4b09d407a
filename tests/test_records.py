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


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"count": "3"}, "Tree.count: expected int, found '3'"),
        ({"count": True}, "Tree.count: expected int, found True"),
        ({"leaves": 5}, "Tree.leaves: expected a list, found int"),
        ({"pair": [1, 2]}, "Tree.pair: expected str, found 2"),
        ({"best": {"name": "n", "values": [None]}}, "Tree.best: Leaf.values: expected float, found None"),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_name_of_its_field(change, line):
    with pytest.raises(ValueError, match=f"^{line}$"):
        Tree.from_dict({**TREE.to_dict(), **change})
