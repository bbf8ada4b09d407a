"""The verdict: numbers against the models' own answers, words against numbers, and what is said where records lack."""

import random
from dataclasses import replace

import pytest

from refconv.engine.run_record import Course
from refconv.measures.facts import RunFacts
from refconv.measures.judging import paired_difference
from refconv.report import provenance as made, results
from refconv.report.provenance import provenance
from refconv.report.verdict import verdict
from report_pairs import agreed, pair, run, section


def answers(seed, n=400, wrong=0.3, start=None, moved=0.15):
    """Return answers of a model, or those of one that moved on from a start; 0 is right."""
    drawn = random.Random(seed)
    if start is None:
        return [int(drawn.random() < wrong) for _ in range(n)]
    return [(1 - one if drawn.random() < moved else one) for one in start]


START = answers(0)
PLAIN, REFOCUS = answers(1, start=START), answers(2, start=START)


def compared(**settings):
    return [pair(name, records={"agreement": agreed(START, after, **settings)}) for name, after in ENDS.items()]


ENDS = {"plain": PLAIN, "refocus": REFOCUS}


def test_accuracies_and_interval_are_those_of_the_samples():
    found = verdict(compared(), []).pairs[1]
    right = [sum(one == 0 for one in model) / len(model) for model in (START, REFOCUS)]
    assert [found.result.first, found.result.second] == right
    assert found.result.difference == pytest.approx(right[1] - right[0])
    assert f"{100 * right[0]:.2f} % before" in found.sentence
    assert "400 samples (fashion-mnist, test)" in found.sentence


@pytest.mark.parametrize("order", [("plain", "refocus"), ("refocus", "plain")])
def test_contrast_is_the_paired_table_of_the_two_ends(order):
    """What follows from two records of changed samples is what counting both models' answers together gives."""
    pairs = sorted(compared(), key=lambda one: order.index(one.name))
    (found,) = results.contrasts(pairs)
    both = list(zip(PLAIN, REFOCUS, strict=True))
    cells = [both.count(cell) for cell in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert found.name == "refocus against plain"
    assert found.paired == paired_difference(*cells)
    assert found.paired.gained != found.paired.lost


def test_contrast_without_the_names_of_all_changed_samples_has_no_interval():
    (found,) = results.contrasts(compared(max_listed=20))
    assert found.paired is None
    assert "names 20 of" in found.why_not
    assert found.difference == pytest.approx((PLAIN.count(1) - REFOCUS.count(1)) / 400)


def test_contrast_needs_only_those_that_gained_or_lost():
    """Samples that are wrong in both may be left out of the list."""
    targets = [0] * 6
    full = agreed([0, 1, 1, 0, 2, 2], [1, 0, 1, 0, 1, 1], targets)
    short = agreed([0, 1, 1, 0, 2, 2], [1, 0, 1, 0, 1, 1], targets, max_listed=2)
    assert full["listed"] == 1 > short["listed"]
    other = pair("plain", records={"agreement": full})
    (found,) = results.contrasts([other, pair(records={"agreement": short})])
    assert found.paired.difference == 0


def test_contrast_of_other_samples_is_refused():
    fewer = pair(records={"agreement": agreed(START[:100], REFOCUS[:100])})
    (found,) = results.contrasts([compared()[0], fewer])
    assert found.why_not == "the two were not measured on the same samples"
    elsewhere = pair(records=compared()[1].records, data={"name": "digits", "split": "test"})
    (found,) = results.contrasts([compared()[0], elsewhere])
    assert found.why_not == "the two were not measured on the same samples"


def test_conclusion_needs_interval_and_test():
    narrow = paired_difference(both=59, gained=16, lost=6, neither=80)
    assert narrow.excludes_zero
    assert narrow.p > 0.05
    said = {
        "no difference that these samples can show": narrow,
        "more accurate on these samples": paired_difference(500, 60, 20, 100),
        "less accurate on these samples": paired_difference(500, 20, 60, 100),
        "too few samples to say: 8, and it takes 60": paired_difference(0, 8, 0, 0),
    }
    for words, found in said.items():
        assert results.Result("a", "classification", found.first, found.second, found).conclusion == words


def test_without_samples_the_records_of_runs_tell():
    measures = {"task": "segmentation", "data": None}
    before = run("plain", top1=None, task="segmentation", measures={"miou": 0.5})
    after = run(top1=None, task="segmentation", measures={"miou": 0.532})
    (found,) = verdict([pair(before_run=before, after_run=after, **measures)], []).pairs
    assert found.sentence.startswith(
        "Mean IoU was 50.00 % before and 53.20 % after: +3.20 points. There is no interval"
    )
    assert found.result.conclusion == "no verdict, as there is one number for each model"


def test_psnr_is_in_decibels():
    runs = [run(top1=None, task="restoration", measures={"psnr": value}) for value in (30.0, 29.5)]
    (found,) = verdict([pair(before_run=runs[0], after_run=runs[1], task="restoration")], []).pairs
    assert "30.00 dB before and 29.50 dB after: −0.50 dB" in found.sentence


LUMA, RGB = ("luma of 8-bit images, mean over images", "RGB of 8-bit images, mean over images")


@pytest.mark.parametrize(
    ("ways", "headline"),
    [
        ((RGB, RGB), "PSNR (RGB of 8-bit images) from 30.00 dB to 29.50 dB, −0.50 dB: "),
        ((None, LUMA), "PSNR (luma of 8-bit images) from 30.00 dB to 29.50 dB, −0.50 dB: "),  # of an earlier version
        ((None, RGB), "PSNR (RGB of 8-bit images) 29.50 dB after, not known before: the two runs measured it in diff"),
        ((LUMA, RGB), "PSNR (RGB of 8-bit images) 29.50 dB after, not known before: the two runs measured it in diff"),
    ],
)
def test_the_headline_names_the_channel_and_never_subtracts_one_from_another(ways, headline):
    runs = [
        run(top1=None, task="restoration", measures={"psnr": value}, definitions={"psnr": way} if way else {})
        for value, way in zip((30.0, 29.5), ways, strict=True)
    ]
    (found,) = verdict([pair(before_run=runs[0], after_run=runs[1], task="restoration")], []).pairs
    assert found.result.headline.startswith(headline)


def test_the_measured_start_stands_beside_the_test_and_never_in_its_place():
    course = Course("top1", "val", 384, start=0.862, end=0.9714)
    trained = run(course=course, top1=0.822)
    (found,) = verdict([pair(after_run=trained)], []).pairs
    assert found.result.headline.startswith("top-1 accuracy 82.20 % after, not known before")
    assert "86.20" not in found.result.headline
    words = "top-1 accuracy from 86.20 % to 97.14 % on 384 validation samples"
    assert found.sentence.endswith(f" In training, {words}.")
    assert ("start and end of training", words) in provenance([pair(after_run=trained)]).shared
    (known,) = verdict([pair(before_run=run(top1=0.81), after_run=trained)], []).pairs
    assert "86.20" not in known.sentence


def scored(cut, *values):
    sides = zip(("before", "after"), values, strict=True)
    return {
        f"scores-{side}": {"task": "restoration", "samples": 60, "measures": {"psnr": value}, "cut": cut, "classes": {}}
        for side, value in sides
    }


def test_what_runs_recorded_comes_before_the_scores_of_the_analysis():
    runs = [run(top1=None, task="restoration", measures={"psnr": value}) for value in (30.0, 29.5)]
    shown = pair(before_run=runs[0], after_run=runs[1], task="restoration")
    (found,) = verdict([replace(shown, records=scored(False, 20.0, 21.5))], []).pairs
    assert "PSNR was 30.00 dB before and 29.50 dB after: −0.50 dB. There is no interval" in found.sentence
    alone = pair(after_run=runs[1], task="restoration")
    (found,) = verdict([replace(alone, records=scored(False, 30.2, 29.5))], []).pairs
    assert "PSNR was 30.20 dB before and 29.50 dB after: −0.70 dB. There is no interval" in found.sentence
    (found,) = verdict([replace(alone, records=scored(True, 30.2, 29.5))], []).pairs
    assert found.result.headline.startswith("PSNR 29.50 dB after, not known before: no test of the model before")


def recorded(top1, **changes):
    return run(top1=top1, test_samples=400, **changes)


def share(model):
    return model.count(0) / len(model)


def test_a_part_of_the_split_never_makes_the_headline():
    """500 of 2,000 images said "+4.20, more accurate", where all of them said +0.75, and -0.35 against plain."""
    part = {**agreed(START[:100], [0] * 100), "cut": True}
    ends = {"plain": 0.8210, "refocus": 0.8175}
    pairs = [
        pair(name, records={"agreement": part}, before_run=run(top1=0.81), after_run=run(top1=end))
        for name, end in ends.items()
    ]
    found = verdict(pairs, [])
    assert found.pairs[1].result.headline == (
        "top-1 accuracy from 81.00 % to 81.75 %, +0.75 points: no verdict, as there is one number for each model"
    )
    assert "refocus against plain: −0.35 points. There is no interval" in found.contrasts[0]
    assert results.ONE_SEED in found.contrasts[0]
    (found,) = verdict([pair(records={"agreement": part}, after_run=run(top1=0.8175))], []).pairs
    assert found.result.headline.startswith("top-1 accuracy 81.75 % after, not known before")
    assert "without --samples" in found.result.headline
    (found,) = verdict([pair(records={"agreement": part})], []).pairs
    assert found.result.headline.startswith(
        "top-1 accuracy not known: no test of the model before and of the one after"
    )


def test_the_whole_split_gives_the_interval_of_what_the_runs_recorded():
    whole = {"agreement": agreed(START, REFOCUS)}
    runs = {"before_run": recorded(share(START)), "after_run": recorded(share(REFOCUS))}
    for some in ({}, {"after_run": runs["after_run"]}, runs):
        assert results.result(pair(records=whole, **some)).paired.samples == 400
    other = pair(records=whole, before_run=runs["before_run"], after_run=recorded(share(REFOCUS) + 0.01))
    found = results.result(other)
    assert (found.paired, found.second) == (None, share(REFOCUS) + 0.01)
    assert "the analysis of the same split found" in found.why_not
    elsewhere = pair(records=whole, after_run=recorded(0.5), data={"name": "digits", "split": "test"})
    assert results.result(elsewhere).first is None


def test_a_start_that_was_never_tested_is_said():
    (found,) = verdict([pair(after_run=run())], []).pairs
    assert found.sentence.startswith("Top-1 accuracy after: 50.00 %; no test of the model before on the whole split is")
    assert found.result.headline.startswith(
        "top-1 accuracy 50.00 % after, not known before: no test of the model before"
    )
    assert "without --samples" in found.result.headline


def test_a_start_that_cannot_be_tested_is_said_with_the_reason():
    anew = "the run started its classifier anew, so the model before it knows none of these classes"
    (found,) = verdict([pair(after_run=run(), data=None, left_out={"agreement": anew})], []).pairs
    assert found.result.headline.endswith(f"on the whole split is on record; {anew}")
    (found,) = verdict([pair(after_run=run(), data=None)], []).pairs
    assert found.result.headline.endswith("report without --weights, or analyze with --data, tests both")


def test_nothing_on_record_is_said():
    found = verdict([pair()], [])
    assert found.pairs[0].result.conclusion == "not known"
    assert found.pairs[0].merged == "none on record"
    assert found.figure is None
    assert found.claims == ()


def test_figure_says_every_interval_and_holds_every_result():
    found = verdict(compared(), [])
    assert found.figure.alt.count("points, 95 % interval") == 3
    assert [row[0] for row in found.figure.table.rows] == ["plain", "refocus", "refocus against plain"]
    assert found.figure.drawing.count('class="iv-whisker"') == 3


def test_claims_are_counted_per_pair():
    pairs = compared()
    sections = [
        section(pairs, "redundancy", support="supported"),
        section(pairs, "attacks", support="contradicted"),
        section(pairs[1:], "sharpness", support="undecided"),
        section(pairs, "shifts", claim=None),
    ]
    found = verdict(pairs, sections)
    assert [supports for _, supports in found.claims] == [
        ("supported",) * 2,
        ("contradicted",) * 2,
        (None, "undecided"),
    ]
    assert found.pairs[0].claims == {"supported": 1, "contradicted": 1, "undecided": 0}
    assert found.pairs[1].claims == {"supported": 1, "contradicted": 1, "undecided": 1}


def test_certificate_of_a_run_holds_and_names_what_was_checked():
    found = made.checks(RunFacts.from_dict(run()))
    assert made.certified(found) == "holds"
    said = made.certificate(found)
    assert "The same: keys and their order, shapes, types of numbers" in said
    assert "identical on a batch of 8" in said


@pytest.mark.parametrize(
    ("change", "summary"),
    [
        ({"missing": ["a", "b", "c", "d"]}, "fails: keys and their order"),
        ({"reordered": True}, "fails: keys and their order"),
        ({"shapes": ["a: [1] -> [2]"]}, "fails: shapes"),
        ({"relative_output_difference": 1e-3}, "fails: outputs"),
        ({"relative_output_difference": None}, "holds, but not everything was checked"),
    ],
)
def test_certificate_that_does_not_hold_says_where(change, summary):
    record = run()
    record["certificate"].update(change)
    found = made.checks(RunFacts.from_dict(record))
    assert made.certified(found) == summary
    if "missing" in change:
        assert made.certificate(found).startswith("Keys and their order: 4 missing: a, b, c, ....")


def test_cost_has_a_column_per_pair_and_no_empty_rows():
    table = made.costs([pair("plain", after_run=run("plain", space=None)), pair(after_run=run(seconds=7980.0))])
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["training samples seen"] == ("76,800", "76,800")
    assert rows["time of training"] == ("1 min 35 s", "2 h 13 min")
    assert rows["in which space"] == ("–", "gradient")
    assert len(made.costs([pair()]).rows) == 1


def test_networks_that_grew_are_named():
    facts = pair().facts
    grown = replace(pair(), facts=replace(facts, after=replace(facts.after, parameters=130)))
    assert made.parameters([pair("plain"), grown]).endswith("another number is shipped by refocus 130.")
    assert "exactly as many parameters: 122" in made.parameters([pair()])
