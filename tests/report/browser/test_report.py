"""The report in a real browser: what readers on a desktop, a phone, paper, a keyboard or a screen reader get."""

from pathlib import Path

import pytest

from refconv.report import write_report

pytestmark = pytest.mark.browser

COMMITTED = sorted((Path(__file__).resolve().parents[3] / "docs" / "reports").glob("*.html"))
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 812}
NARROWEST = {"width": 320, "height": 640}


@pytest.fixture(scope="module")
def report(pairs, tmp_path_factory):
    """A report of two tiny pairs with every measure there is."""
    return write_report(pairs, tmp_path_factory.mktemp("report") / "report.html").path


@pytest.fixture(params=["every measure", *COMMITTED], ids=lambda value: getattr(value, "stem", value))
def page_file(request, report):
    """That report, and each one that is committed."""
    return report if request.param == "every measure" else request.param


def unfold(page):
    """Open every section, as a reader does one by one."""
    page.evaluate("document.querySelectorAll('.fold').forEach((one) => { one.open = true })")


def violations(page):
    """Return what axe finds wrong, with the first place of each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    return [(rule["id"], rule["nodes"][0]["target"]) for rule in found.response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_is_accessible(opened, page_file, size, scheme):
    with opened(page_file, size=size, color_scheme=scheme) as page:
        assert violations(page) == []


def test_what_folds_open_is_accessible_too(opened, report):
    with opened(report) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        assert violations(page) == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE, NARROWEST], ids=["desktop", "phone", "narrowest"])
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_page_does_not_scroll_sideways(opened, page_file, size, scripts):
    with opened(page_file, size=size, scripts=scripts) as page:
        assert page.locator("html").evaluate("(root) => root.scrollWidth") <= size["width"]


def test_without_scripts_everything_is_there(opened, report):
    with opened(report, scripts=False) as page:
        assert page.locator("#verdict").is_visible()
        assert page.locator(".theme").is_hidden()  # a button that could do nothing
        for summary in page.locator(".fold > summary").all():
            summary.click()
        choices = page.locator(".choice")
        assert choices.count() >= 3
        for choice in choices.all():
            options = choice.locator(":scope > .option")
            assert options.first.locator("figure").is_visible()
            last = options.last
            if options.count() > 1:
                assert last.locator("figure").is_hidden()
                last.locator(":scope > summary").click()
            assert last.locator("figure").is_visible()


def test_every_chart_has_words_and_numbers(opened, report):
    with opened(report) as page:
        figures = page.locator("main figure")
        assert figures.count() > 20
        for figure in figures.all():
            assert len(figure.locator(".drawing").get_attribute("aria-label")) > 20
            if figure.locator("svg").count():
                assert figure.locator("table").count() == 1


def test_layers_are_picked_by_keyboard(opened, report):
    with opened(report) as page:
        unfold(page)
        choice = page.locator(".choice[data-choice=layer]").first
        figures, select = choice.locator("figure"), choice.locator("select")
        assert figures.count() > 1
        assert [figure.is_visible() for figure in figures.all()] == [True] + [False] * (figures.count() - 1)
        select.focus()
        page.keyboard.press("ArrowDown")
        assert [figure.is_visible() for figure in figures.all()][:2] == [False, True]
        choice.get_by_role("button", name="Previous").press("Enter")
        assert figures.first.is_visible()


def test_a_figure_is_enlarged_and_the_focus_comes_back(opened, report):
    with opened(report) as page:
        unfold(page)
        button = page.locator("main figure .enlarge").first
        button.press("Enter")
        dialog = page.locator("dialog[open]")
        assert dialog.is_visible()
        assert violations(page) == []
        copy = dialog.locator(".drawing")
        before = copy.bounding_box()["width"]
        page.keyboard.press("+")
        assert copy.bounding_box()["width"] > 1.3 * before
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        assert button.evaluate("(one) => one === document.activeElement")


def test_values_are_shown_under_the_pointer(opened, report):
    with opened(report) as page:
        unfold(page)
        mark = page.locator("main [data-tip]:visible").first
        mark.scroll_into_view_if_needed()
        mark.hover()
        tip = page.locator(".tip")
        assert tip.is_visible()
        assert tip.inner_text().split() == mark.get_attribute("data-tip").split()
        assert page.locator("[data-tip] > title").count() == 0  # else the browser would show a second one
    with opened(report, scripts=False) as page:
        assert page.locator("[data-tip] > title").count() > 20


def test_theme_is_chosen_and_kept(opened, report):
    paper = "getComputedStyle(document.body).backgroundColor"
    with opened(report, color_scheme="light") as page:
        light = page.evaluate(paper)
        page.locator(".theme").click()
        page.locator(".theme").click()
        assert page.evaluate(paper) != light
        page.reload()
        assert page.evaluate(paper) != light


def test_paper_is_white_and_without_controls(opened, report):
    with opened(report, color_scheme="dark") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") in {
            "rgb(255, 255, 255)",
            "rgba(0, 0, 0, 0)",
        }
        assert page.locator("nav:visible").count() == 0
        assert page.locator("button:visible").count() == 0
        assert page.locator("#verdict").is_visible()
        assert len(page.pdf()) > 50_000


def test_contents_lead_to_their_sections(opened, report):
    with opened(report) as page:
        links = page.locator("nav.aside a")
        assert links.count() > 15
        for link in links.all():
            assert page.locator(link.get_attribute("href")).count() == 1


def test_the_open_page_is_short_and_a_link_opens_its_section(opened, report):
    with opened(report) as page:
        open_words = len(page.locator("main").inner_text().split())
        whole = len(page.locator("main").evaluate("(main) => main.textContent").split())
        assert open_words < 0.1 * whole
        first = page.locator(".overview")
        assert first.bounding_box()["y"] + first.bounding_box()["height"] < DESKTOP["height"]
        fold = page.locator("#calibration > .fold")
        assert not fold.evaluate("(one) => one.open")
        page.locator("nav.aside a[href='#calibration']").click()
        assert fold.evaluate("(one) => one.open")


def test_on_a_phone_every_cell_of_the_first_table_is_in_view(opened, report):
    with opened(report, size=PHONE) as page:
        boxes = [cell.bounding_box() for cell in page.locator(".overview tbody th, .overview tbody td").all()]
        assert len(boxes) == 15
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] for box in boxes)
