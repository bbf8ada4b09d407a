"""Relations that were made on purpose: channels that draw on one another, on themselves, or on none."""

from dataclasses import replace

import pytest
import torch

from refconv.report.sections import SPECS


def kernels(channels=4):
    return torch.randn(channels, 1, 3, 3, generator=torch.Generator().manual_seed(0))


def of(pair_of, before, after):
    return SPECS["relations"]([pair_of("refocus", before, after, "relations")])


def test_a_channel_that_takes_another_s_kernel_draws_on_it(pair_of):
    after = kernels()
    after[2] += kernels()[0]
    section = of(pair_of, [kernels()], [after])
    headline, reach = section.findings
    assert headline.text.startswith("In 1 layer where slices meet others they draw ")
    assert "(75.0 % if they drew on all alike)" in headline.text
    assert reach.text == "Refocusing from this start can reach all of the change."
    matrix = next(figure for figure in section.figures if figure.choice == "layer")
    assert matrix.table.rows[0][:3] == ("refocus", "2", "0")


def test_dense_layers_draw_on_themselves_alone(pair_of):
    dense = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    section = of(pair_of, [dense], [1.5 * dense])
    assert section.findings[0].text == (
        "In none of the layers that moved do slices meet others, so that each draws on itself alone."
    )
    assert [figure.option for figure in section.figures] == ["Part out of reach"]
    assert "In 1 layer slices meet no others (dense layers)." in section.notes


@pytest.mark.parametrize(("normalize", "scale"), [(True, "normalized"), (False, "paper")])
def test_records_of_before_there_was_a_choice_of_scale_are_read(pair_of, normalize, scale):
    pair = pair_of("refocus", [kernels()], [2 * kernels()], "relations")
    record = pair.records["relations"].to_dict()
    assert record.pop("scale") == "capped"
    earlier = replace(pair, records={"relations": {**record, "normalize": normalize}})
    assert f"scale {scale}, power 1." in " ".join(SPECS["relations"]([earlier]).notes)


def test_nothing_moved_is_the_same(pair_of):
    section = of(pair_of, [kernels()], [kernels()])
    (finding,) = section.findings
    assert (finding.text, finding.change) == (
        "Nothing moved that refocusing could reach: no slice draws on any.",
        "same",
    )


def test_what_is_out_of_reach_is_said(pair_of):
    """A single centre tap spans only its nine shifts; in 5 x 5 sixteen taps stay out of reach."""
    before = torch.zeros(1, 1, 5, 5)
    before[..., 2, 2] = 1
    after = before.clone()
    after[..., 0, 0] = 1
    section = of(pair_of, [before], [after])
    assert section.findings[1].text == "Refocusing from this start cannot reach 100.0 % of the length of the change."
