import pytest

from refconv.measures.pairs import Measured, ModelPair
from refconv.measures.verdict import claim, verdict
from report_pairs import run
from report_records import pair, plain

ALONE = "not compared with plain training, as the report has no plain run from the same start."
WORDS = {"better": "It rose", "worse": "It fell", "same": "It stayed", "unclear": "It cannot be told"}


@pytest.mark.parametrize(
    ("change", "beside", "support", "sentence"),
    [
        ("better", None, "undecided", "It rose; " + ALONE),
        ("better", "better", "supported", "It rose, and it did better than plain training from the same start."),
        ("better", "same", "undecided", "It rose, but plain training from the same start gave as much."),
        (
            "better",
            "unclear",
            "undecided",
            "It rose, but as far as can be told plain training from the same start gave as much.",
        ),
        ("better", "worse", "undecided", "It rose, but plain training from the same start did better."),
        ("worse", "better", "undecided", "It fell; it still stands better than plain training from the same start."),
        ("worse", "same", "contradicted", "It fell; plain training from the same start came to the same."),
        ("worse", "worse", "contradicted", "It fell; plain training from the same start did better."),
        ("worse", None, "undecided", "It fell; " + ALONE),
        ("same", "unclear", "undecided", "It stayed; no difference to plain training from the same start can be told."),
        ("unclear", "worse", "undecided", "It cannot be told; plain training from the same start did better."),
    ],
)
def test_verdict_is_seen_beside_plain_training(change, beside, support, sentence):
    assert verdict(change, WORDS[change], beside) == (support, sentence)


def test_claim_has_no_verdict_on_plain_training():
    items = [Measured(0, plain(), {}), Measured(1, pair(), {})]
    found = claim("x", "y", items, lambda item: ("better", "It rose"), lambda item, other: "same")
    assert list(found.verdicts) == ["refocus"]
    assert claim("x", "y", items[:1], lambda item: ("better", "It rose"), lambda item, other: "same") is None


def test_plain_training_is_known_by_its_method_then_by_its_run_then_by_its_name():
    assert Measured(0, pair("mine", "plain"), {}).plain
    assert not Measured(0, pair("plain", "refocus"), {}).plain
    unnamed = pair("plain", None)
    assert Measured(0, unnamed, {}).plain
    assert not Measured(0, ModelPair("plain", {"before": {}, "after": {"run": run("refocus")}}), {}).plain
