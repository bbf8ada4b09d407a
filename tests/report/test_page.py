"""The page as HTML: complete, well-formed, readable by machines that read for people, and in need of nothing else."""

import itertools
import re
from collections import Counter
from html.parser import HTMLParser
from importlib import resources

import pytest
from markupsafe import Markup

from refconv.measures.judging import Finding
from refconv.report import page, provenance
from refconv.report.elements import Figure, Table
from refconv.report.verdict import verdict
from report_pairs import agreed, drawing, pair, run, section

VOID = {"meta", "link", "br", "img", "input", "hr"}
STYLE = resources.files("refconv.report").joinpath("style.css").read_text(encoding="utf-8")
CHARTS = resources.files("refconv.report.charts").joinpath("charts.css").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects elements with their attributes, and refuses tags that cross or stay open."""

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def all(self, tag, **attributes):
        return [a for t, a, _ in self.elements if t == tag and all(a.get(k) == v for k, v in attributes.items())]


def drawn(pairs, sections, title="A <b>title</b>"):
    made = provenance.provenance(pairs)
    whole = page.Page(title, "tiny", "runs/base", verdict(pairs, sections), tuple(sections), made)
    return page.draw(whole)


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def several(count):
    records = {"agreement": agreed([0, 1, 1, 0], [0, 0, 1, 0])}
    return [pair(f"other{i}", records=records, after_run=run(top1=0.75)) for i in range(count)]


@pytest.fixture(scope="module")
def whole():
    pairs = several(2)
    options = [Figure(drawing(), f"Picture {i}.", "A layer.", None, "layer", f"conv{i}") for i in range(3)]
    return read(
        drawn(pairs, [section(pairs), section(pairs, "attacks"), section(pairs, "kernels", figures=tuple(options))])
    )


@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize("measures", [0, 2])
def test_page_is_well_formed_for_any_number_of_pairs_and_sections(count, measures):
    pairs = several(count)
    reader = read(drawn(pairs, [section(pairs, name) for name in ("redundancy", "attacks")[:measures]]))
    ids = Counter(a["id"] for _, a, _ in reader.elements if "id" in a)
    assert max(ids.values()) == 1
    targets = {a["href"][1:] for a in reader.all("a")}
    assert targets <= set(ids)
    assert {"verdict", "made"} <= targets


def test_pairs_without_any_record_have_a_page():
    reader = read(drawn([pair(left_out={}, measured={}, data=None, versions={})], []))
    words = "".join(reader.words)
    assert "No measures are on record" in words
    assert "nothing was certified" in words


def test_words_are_escaped_and_drawings_are_not(whole):
    text = "".join(whole.words)
    assert "A <b>title</b>" in text
    assert "The redundancy of <kernels>" in text
    assert "other0 moved & changed." in text
    assert len(whole.all("rect")) == 5


def test_page_needs_nothing_from_elsewhere(whole):
    (policy,) = [a["content"] for a in whole.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    addresses = [a[key] for _, a, _ in whole.elements for key in ("src", "href", "xlink:href", "srcset") if key in a]
    assert all(one.startswith(("#", "data:")) for one in addresses)
    assert not re.search(r"@import|url\((?!['\"]?data:)", STYLE + CHARTS)


def test_landmarks_language_and_headings(whole):
    assert whole.all("html", lang="en")
    for landmark in ("header", "main"):
        assert len(whole.all(landmark)) == 1
    assert len({a["aria-label"] for a in whole.all("nav")}) == 2
    levels = [int(tag[1]) for tag, _, _ in whole.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_figures_have_words_and_tables_have_scopes(whole):
    figures = len(whole.all("figure"))
    assert figures == 6
    assert len([a for a in whole.all("div", role="img") if a["aria-label"]]) == figures
    assert len(whole.all("figcaption")) == figures
    assert all(a.get("scope") in {"col", "row"} for a in whole.all("th"))
    assert len(whole.all("caption")) == len(whole.all("table"))
    regions = [a for _, a, _ in whole.elements if a.get("tabindex") == "0"]
    assert all(a["role"] == "group" and a["aria-label"] for a in regions)


def test_options_of_a_choice_fold_and_the_first_is_open(whole):
    (choice,) = [a for _, a, _ in whole.elements if "data-choice" in a]
    assert choice["data-choice"] == "layer"
    options = whole.all("details", **{"class": "option"})
    assert ["open" in a for a in options] == [True, False, False]
    assert [word for word in whole.words if re.fullmatch(r"conv\d", word)] == ["conv0", "conv1", "conv2"]


def test_sections_stand_in_their_groups(whole):
    sections = [a["id"] for a in whole.all("section")]
    details = ["details", "result", "certificate", "cost", "claims"]
    measures = ["of-weights", "redundancy", "kernels", "of-behaviour", "attacks"]
    assert sections == ["verdict", "findings", *details, *measures, "of-making", "made"]


def test_the_measures_of_weights_are_those_that_come_first():
    from refconv.report.sections import SECTIONS

    names = [make.name for make in SECTIONS]
    assert set(names[: len(page.WEIGHTS)]) == page.WEIGHTS
    assert len(names) > len(page.WEIGHTS)


def test_figures_of_one_choice_come_together_where_the_first_stands():
    a, b, c, d = (
        Figure(drawing(), "", "", None, choice, option)
        for choice, option in (("layer", "1"), (None, None), ("layer", "2"), ("class", "cat"))
    )
    assert page.shelves([a, b, c, d]) == [[a, c], [b], [d]]


def test_facts_shared_by_all_pairs_are_said_once():
    made = provenance.provenance([pair("plain"), pair("refocus")])
    assert ("data", "fashion-mnist, test split, at most 2,000 samples a measure") in made.shared
    assert dict(made.each)["refocus"] == (("after", "runs/refocus"),)
    assert made.left_out == (("curvature", "no second derivative", ""),)
    assert len(made.commands) == 2
    only = provenance.provenance([pair("plain"), pair("refocus", left_out={})])
    assert only.left_out == (("curvature", "no second derivative", "plain"),)


def luminance(colour):
    digits = colour.removeprefix("#")
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def colours():
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE)
    return {name: pair for name, *pair in found}


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(theme):
    """WCAG AA asks for a contrast of 4.5."""
    known = colours()
    texts = [name for name in known if name not in {"paper", "raised", "line"}]
    assert len(texts) >= 14
    for ground in ("paper", "raised"):
        for text in texts:
            dark, light = sorted(luminance(known[name][theme]) for name in (ground, text))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_every_colour_that_is_used_is_defined():
    defined = set(re.findall(r"(--[\w-]+):", STYLE + CHARTS))
    used = set(re.findall(r"var\((--[\w-]+)", STYLE + CHARTS))
    assert {"--role-5", "--paper"} <= used
    assert used - {"--c-count"} <= defined  # which drawings give themselves


def test_tables_show_every_cell():
    table = Table("Cells", ("layer", "x<y"), (("conv", "1 %"),))
    pairs = several(1)
    reader = read(drawn(pairs, [section(pairs, figures=(Figure(Markup("<svg></svg>"), "A.", "B.", table),))]))
    assert {"x<y", "1 %", "conv", "Cells"} <= set(reader.words)


def test_a_strong_finding_says_its_p_once_on_the_first_screen():
    """Its sentence stands there, in the line of its section and in the section; p is added where it lacks one."""
    texts = {"redundancy": "Kernels are less alike, p = 0.01.", "attacks": "Accuracy is higher."}
    sections = [
        section([], name, findings=(Finding("other0", text, "better", 0.01),), claim=None)
        for name, text in texts.items()
    ]
    reader = read(drawn(several(1), sections))
    words = " ".join("".join(reader.words).split())
    first_screen = words[words.index("Strongest findings Of 2 measures") : words.index("Details The top-1")]
    assert f"The redundancy of <kernels>: {texts['redundancy']} " in first_screen
    assert first_screen.endswith(f"The attacks of <kernels>: {texts['attacks']} (p = 0.01) ")
    assert first_screen.count("p = 0.01") == 2
    assert [words.count(text) for text in texts.values()] == [3, 3]
