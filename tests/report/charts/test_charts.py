"""What all charts have in common, whatever they show."""

import re
from html.parser import HTMLParser
from importlib import resources

import pytest

from refconv.report.charts import (
    Bars,
    Dots,
    Guide,
    Heat,
    Line,
    Photo,
    Sheet,
    Surface,
    bar_chart,
    contour_maps,
    dot_chart,
    heat_maps,
    kernel_sheets,
    line_chart,
    photo_row,
)

EVIL = "<b>&\"'</b>"
GONE = [float("nan"), None, float("inf"), -float("inf")]
NAMES = {"before": "before", 0: EVIL, 5: "five"}
GUIDES = [Guide("y", 0.5, EVIL), Guide("x", 0.5, EVIL), Guide("diagonal", 0, EVIL)]


def line(**more):
    lines = [Line(EVIL, 0, [0, 1, 2], [0.1, None, 3.0], [0, 0, 2], [1, 1, float("nan")])]
    return line_chart(lines, title=EVIL, x_label=EVIL, y_label=EVIL, **{"guides": GUIDES[:1], **more})


def heat(**more):
    maps = [Heat(EVIL, [[0.1, None], [float("inf"), 3]]), Heat("none", []), Heat("gone", [GONE])]
    return heat_maps(maps, unit=EVIL, x_label=EVIL, y_label=EVIL, **more)


def surface(values):
    return contour_maps([Surface(EVIL, [-1, 0, 1], [-1, 0, 1], values)], unit=EVIL, x_label=EVIL, y_label=EVIL)


CHARTS = {
    "lines": line,
    "lines, upright axis logarithmic": lambda: line(y_log=True),
    "lines in a range": lambda: line(y_range=(0, 1), guides=GUIDES),
    "dots": lambda: dot_chart(
        [Dots(EVIL, {"before": 1, 0: 2}), Dots(EVIL * 9, {0: float("nan")})],
        NAMES,
        title=EVIL,
        x_label=EVIL,
        guides=GUIDES[1:2],
    ),
    "bars": lambda: bar_chart(
        [Bars("a", {"before": 1, 0: -2, 5: None}, {0: 1, 5: 1})], NAMES, title=EVIL, y_label=EVIL
    ),
    "lying bars": lambda: bar_chart(
        [Bars(EVIL * 9, {"before": 1, 0: float("inf")}, {"before": float("nan")})] * 9, NAMES, title=EVIL, y_label=EVIL
    ),
    "heat": heat,
    "heat around zero": lambda: heat(diverging=True),
    "contours": lambda: surface([[1, 2, 3], [4, 5, None], [7, 8, 9]]),
    "contours of a constant": lambda: surface([[1, 1, 1]] * 3),
    "sheets": lambda: kernel_sheets(
        [Sheet(EVIL, [[[1.0, -2.0]], [[float("nan"), 0.0]]], [EVIL, "b"]), Sheet("c", [], [])]
    ),
    "photos": lambda: photo_row([Photo(EVIL, bytes(12), (2, 2, 3), [[0.5, float("nan")]]), Photo("", b"", (0, 0, 1))]),
}

EMPTY = {
    "no lines": lambda: line_chart([], title="t", x_label="x", y_label="y"),
    "lines without values": lambda: line_chart([Line("a", 0, [1, 2, 3, 4], GONE)], title="t", x_label="x", y_label="y"),
    "lines without positions": lambda: line_chart([Line("a", 0, GONE[:1], [1])], title="t", x_label="x", y_label="y"),
    "lines without logarithms": lambda: line_chart(
        [Line("a", 0, [1, 2], [0, -1])], title="t", x_label="x", y_label="y", y_log=True, guides=[Guide("y", 1)]
    ),
    "no dots": lambda: dot_chart([], NAMES, title="t", x_label="x"),
    "dots without values": lambda: dot_chart([Dots("a", {0: None})], NAMES, title="t", x_label="x", guides=GUIDES[1:2]),
    "no bars": lambda: bar_chart([], NAMES, title="t", y_label="y"),
    "bars without values": lambda: bar_chart([Bars("a", {0: None}, {0: 1})], NAMES, title="t", y_label="y"),
    "no maps": lambda: heat_maps([], unit="u"),
    "maps without values": lambda: heat_maps([Heat("a", [[None]])], unit="u"),
    "no surfaces": lambda: contour_maps([], unit="u", x_label="x", y_label="y"),
    "a surface of a row": lambda: contour_maps([Surface("a", [0, 1], [0], [[1, 2]])], unit="u", x_label="", y_label=""),
    "no sheets": lambda: kernel_sheets([]),
    "sheets without kernels": lambda: kernel_sheets([Sheet("a", [], [])]),
    "no photos": lambda: photo_row([]),
}


@pytest.fixture(params=CHARTS)
def markup(request):
    return CHARTS[request.param]()


def test_markup_is_well_formed_and_hidden(markup, read):
    drawn = read(markup)
    assert drawn.root.get("aria-hidden") == "true"
    assert all(one.get("aria-hidden") == "true" for one in drawn.root.iter("svg") if one.get("class") != "c-clip")


def test_markup_nests_as_html(markup):
    """In HTML, unlike in XML, ``<div/>`` opens: every element that HTML knows must be closed by name or void."""

    class Nesting(HTMLParser):
        def __init__(self):
            super().__init__()
            self.short = []

        def handle_startendtag(self, tag, attributes):
            self.short.append(tag)

    parser = Nesting()
    parser.feed(str(markup))
    assert not set(parser.short) & {"div", "span", "p", "svg"}


def test_text_is_escaped(markup, read):
    drawn = read(markup)
    assert "<b>" not in drawn.text
    assert EVIL in "".join(drawn.root.itertext())


def test_colours_are_left_to_the_page(markup):
    bare = re.sub(r"data:image/png;base64,[\w+/=]+", "", str(markup))
    assert not re.search(r"(fill|stroke|color|stop-color)=|#[0-9a-fA-F]{3,8}\b(?!;)|rgb|hsl", bare)
    assert not re.search(r"\bid=|url\(", bare)


def test_positions_are_numbers(markup, read):
    for one in read(markup).root.iter():
        for name in {"d", "x", "y", "width", "height", "viewBox"} & set(one.keys()):
            assert not re.search(r"nan|inf|None", one.get(name))
            assert not re.search(r"\d\.\d\d", one.get(name))


@pytest.mark.parametrize("chart", EMPTY.values(), ids=EMPTY)
def test_nothing_to_show_is_said(chart, read):
    assert read(chart()).texts("c-empty") == ["no values"]


def test_styles_use_the_colours_of_the_page():
    css = (resources.files("refconv.report.charts") / "charts.css").read_text("utf-8")
    assert not re.search(r"#[0-9a-fA-F]{3}|rgb|hsl", css)
    used = set(re.findall(r"var\((--[\w-]+)\)", css))
    roles = {"--role-before", *(f"--role-{i}" for i in range(6))}
    assert {name for name in used if not name.startswith("--c-")} == {
        "--ink",
        "--ink-soft",
        "--line",
        "--paper",
        *roles,
    }
