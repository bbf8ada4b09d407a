from dataclasses import replace

import pytest

import report_records as made
from refconv.engine.run_record import PRIMARY
from refconv.measures.pairs import measured
from refconv.measures.scores import words_of
from refconv.report.sections import SPECS
from refconv.task_measures import TASKS

section = SPECS["scores"]


def detectors(before=0.12, after=0.13, classes=((0.1, 0.2), (0.14, 0.12)), **changes):
    names = ("ant", "bee")
    sides = [
        made.scores(
            map=value, map50=2 * value, baseline_map=0.001, classes=dict(zip(names, of, strict=True)), **changes
        )
        for value, of in ((before, classes[0]), (after, classes[1]))
    ]
    return tuple(sides)


@pytest.mark.parametrize(
    ("after", "words", "change"),
    [
        (0.13, "mAP rises from 12.00 % to 13.00 % on 400 samples; one number", "unclear"),
        (0.11, "mAP falls from 12.00 % to 11.00 %", "unclear"),
        (0.12, "mAP stays at 12.00 % on 400 samples.", "same"),
    ],
)
def test_single_numbers_never_count_as_better_or_worse(after, words, change):
    found = section([made.pair(scores=detectors(after=after))]).findings[0]
    assert words in found.text
    assert found.change == change


def test_classes_are_counted_and_the_one_that_changed_most_is_named():
    found = section([made.pair(scores=detectors())]).findings[1]
    assert (
        found.text
        == "The average precision rises in 1 and falls in 1 of 2 classes; it changes most for bee, by −8.00 points."
    )
    some = detectors(classes=((0.1, None), (0.2, 0.3)))
    assert "rises in 1 and falls in 0 of 1 class; it" in section([made.pair(scores=some)]).findings[1].text
    none = detectors(classes=((None, None), (0.2, 0.3)))
    assert "No class has an average precision in both" in section([made.pair(scores=none)]).findings[1].text


def test_pairs_are_compared_with_plain_training():
    pairs = [made.plain(scores=detectors(after=0.13)), made.pair(scores=detectors(after=0.14))]
    found = section(pairs)
    assert found.findings[-1].text == "With refocus mAP is 14.00 %, higher than the 13.00 % of plain."
    assert [figure.table.header[1:] for figure in found.figures] == [("before", "plain", "refocus")] * 2
    assert ("mAP at an overlap of 0.5", "24.00 %", "26.00 %", "28.00 %") in found.figures[1].table.rows
    pairs[1] = made.pair(scores=detectors(after=0.14, samples=20, cut=True))
    assert "on other samples" in section(pairs).findings[-1].text


def test_decibels_are_no_shares():
    sides = tuple(made.scores("restoration", psnr=value, ssim=0.9, loss=0.02, input_psnr=25.25) for value in (31.9, 32))
    found = section([made.pair(scores=sides)])
    assert "PSNR rises from 31.9 dB to 32 dB" in found.findings[0].text
    (figure,) = found.figures
    assert ("PSNR of the input itself", "25.25 dB", "25.25 dB") in figure.table.rows
    assert ("SSIM", "0.9", "0.9") in figure.table.rows


def test_segmenters_have_their_words():
    sides = tuple(made.scores("segmentation", miou=value, loss=1.5, classes={"sky": value}) for value in (0.1, 0.2))
    found = section([made.pair(scores=sides)])
    assert "Mean IoU rises from 10.00 % to 20.00 %" in found.findings[0].text
    assert ("loss", "1.5", "1.5") in found.figures[1].table.rows


def test_what_was_drawn_from_more_is_said():
    assert "Measured on 400 samples, the whole split." in section([made.pair(scores=detectors())]).notes
    cut = section([made.pair(scores=detectors(cut=True))])
    assert "Measured on 400 samples drawn from more." in cut.notes
    without = replace(made.pair("other"), facts=replace(made.pair().facts, left_out={"scores": "no data"}))
    assert "other was not measured: no data." in section([made.pair(scores=detectors()), without]).notes
    assert section([without]) is None


@pytest.mark.parametrize("task", [task for task in TASKS if task != "classification"])
def test_every_other_task_has_words_for_its_first_measure(task):
    (item,) = measured([made.pair(scores=(made.scores(task), made.scores(task)))], "scores")
    assert words_of(item).first == PRIMARY[task]


@pytest.mark.parametrize(("other", "channel"), [("rgb", "luma"), ("luma", "RGB")])
def test_psnr_and_ssim_name_their_channel(other, channel):
    values = {"psnr": 32, "ssim": 0.9, f"psnr_{other}": 31, f"ssim_{other}": 0.8, "loss": 0.02}
    found = section([made.pair(scores=tuple(made.scores("restoration", **values) for _ in range(2)))])
    assert found.findings[0].text.startswith(f"PSNR of {channel} stays at 32 dB")
    assert [row[0] for row in found.figures[-1].table.rows][:4:2] == [f"PSNR of {channel}", f"SSIM of {channel}"]
