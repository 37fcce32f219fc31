"""The page in a real browser: Debian's Chromium, which is not installed by pip; without it these tests skip."""

import shutil

import pytest

from sparsecomp.inspect.page import write_page
from tests.inspect.page_reports import HOSTILE, hostile_report, report

pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Opens the page of a report; when the test ends, nothing may have been complained about, asked or loaded."""
    contexts, complaints = [], []

    def open_page(data, **options):
        write_page(data, tmp_path / "page.html")
        contexts.append(browser.new_context(offline=True, reduced_motion="reduce", **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda asked: asked.url.startswith("file:") or complaints.append(f"asked for {asked.url}"))
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def nodes(page, selector):
    """Ids of the nodes of the drawing that a Cytoscape selector finds."""
    return page.evaluate(
        "s => document.getElementById('graph')._cyreg.cy.nodes(s).map(n => n.data('label') ?? '')", selector
    )


def focused(page):
    return page.evaluate(
        "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
    )


def theme(page):
    return page.evaluate("document.documentElement.dataset.theme")


def test_it_loads_and_shows_layers_graph_and_summary(visit):
    page = visit(report())
    assert page.title() == "Chain: sparsecomp" and page.inner_text("h1") == "Chain"
    assert page.locator("#rows button").count() == 6
    assert "2.00×" in page.inner_text("#summary")
    assert len(nodes(page, "[!x]")) == 2 + 2 * 6


def test_the_slider_leads_through_the_stages(visit):
    page = visit(report())
    assert page.inner_text("#stage-text").endswith("6 calls, 6 gone.") and len(nodes(page, ".ghost")) == 6
    page.focus("#stage")
    page.keyboard.press("Home")
    assert page.get_attribute("#stage", "aria-valuetext") == "captured, 12 calls" and not nodes(page, ".ghost")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("]")
    page.keyboard.press("]")
    assert page.get_attribute("#stage", "aria-valuetext") == "fused, 6 calls"
    page.click("#ticks button:text('captured')")
    assert page.input_value("#stage") == "0"


def test_places_do_not_change_with_the_stage(visit):
    page = visit(report())
    places = "document.getElementById('graph')._cyreg.cy.nodes().map(n => [n.position('x'), n.position('y')])"
    before = page.evaluate(places)
    page.keyboard.press("[")
    page.keyboard.press("[")
    assert page.evaluate(places) == before and len({tuple(place) for place in before}) == len(before)


def test_removed_parts_can_be_hidden(visit):
    page = visit(report())
    page.uncheck("#ghosts")
    assert len(nodes(page, ".hidden")) == 6


def test_search_finds_layers_and_calls_and_leads_to_them(visit):
    page = visit(report())
    page.keyboard.press("/")
    assert focused(page) == "search"
    page.keyboard.type("Body.3")
    assert page.inner_text("#found").startswith("1 layers, 1 calls") and page.locator("#rows button").count() == 1
    assert len(nodes(page, ".hit")) == 1 and len(nodes(page, ".dim")) == 13
    page.keyboard.press("Enter")
    assert page.inner_text("#panel h2") == "body.3"
    page.keyboard.press("Escape")
    assert page.locator("#rows button").count() == 6 and not nodes(page, ".dim")


def test_a_click_on_a_node_opens_its_layer(visit):
    page = visit(report())
    x, y = page.evaluate("""() => {
        const cy = document.getElementById('graph')._cyreg.cy, box = cy.container().getBoundingClientRect();
        const at = cy.nodes().filter(n => (n.data('label') ?? '').endsWith('body.1')).renderedPosition();
        return [box.x + at.x, box.y + at.y];
    }""")
    page.mouse.click(x, y)
    assert page.inner_text("#panel h2") == "body.1"
    assert page.locator("#rows button[aria-current]").count() == 1


def test_details_have_decision_pictures_schedule_and_code(visit):
    page = visit(report())
    page.click("#rows button >> nth=2")
    panel = page.locator("#panel")
    assert "sparse is predicted 2 times as fast as dense" in panel.inner_text()
    assert panel.locator(".candidates tbody tr").count() == 3
    page.wait_for_selector("#panel canvas.spy")
    assert page.evaluate("[document.querySelector('.spy').width, document.querySelector('.spy').height]") == [16, 8]
    assert panel.locator(".histogram rect").count() == 20
    assert panel.locator("canvas.spy").get_attribute("aria-label").startswith("Nonzeros of the 64×64 weight of body.2")
    panel.locator("summary").click()
    page.wait_for_selector("#panel pre:not(:empty)")
    assert panel.locator("pre").inner_text() == "def main(x):\n    return x\n"


def test_everything_can_be_done_by_keyboard(visit):
    page = visit(report())
    page.focus("#sort")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.parentElement.parentElement.id") == "rows"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.inner_text("#panel h2") == "body.1"
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    page.focus("#graph")
    page.keyboard.press("ArrowDown")
    assert "body.2" in page.inner_text("#said")
    page.keyboard.press("Enter")
    assert focused(page) == "panel" and page.inner_text("#panel h2") == "body.2"
    page.keyboard.press("Escape")
    assert focused(page) == "graph"
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_what_has_the_focus_can_be_seen(visit):
    page = visit(report())
    for _ in range(4):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_the_list_can_be_sorted(visit):
    page = visit(report())
    page.select_option("#sort", "time")
    assert page.text_content("#rows .name >> nth=0") == "body.4"
    page.select_option("#sort", "density")
    assert page.text_content("#rows .name >> nth=0") == "body.0"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_can_be_switched(visit, scheme):
    page = visit(report(), color_scheme=scheme)
    other = {"light": "dark", "dark": "light"}[scheme]
    assert theme(page) == scheme
    page.click("#theme")
    assert theme(page) == other
    page.keyboard.press("t")
    assert theme(page) == scheme


def test_hostile_strings_are_shown_and_do_nothing(visit):
    page = visit(hostile_report())
    elements = page.evaluate("document.querySelectorAll('script, img, iframe, style').length")
    for at in range(len(HOSTILE)):
        page.click(f"#rows button >> nth={at}")
        page.wait_for_selector("#panel canvas.spy")
        page.locator("#panel summary").click()
    assert "<script>alert(1)</script>" in page.locator("#rows button >> nth=0").get_attribute("aria-label")
    for _ in range(5):
        page.keyboard.press("[")
    page.fill("#search", "<script>")
    assert page.locator("#rows button").count() == 2
    assert page.evaluate("document.querySelectorAll('script, img, iframe, style').length") == elements


def test_a_long_name_does_not_stretch_the_page(visit):
    page = visit(hostile_report())
    page.click(f"#rows button >> nth={len(HOSTILE) - 1}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_thousand_nodes_are_drawn_apart(visit):
    page = visit(report(500))
    assert page.locator("#rows button").count() == 500
    assert (
        page.evaluate("new Set(document.getElementById('graph')._cyreg.cy.nodes().map(n => n.position('y'))).size")
        == 1002
    )


def test_a_report_without_a_graph_says_so(visit):
    page = visit(report(stages=[], layers=[], decisions=[], code={}))
    assert "no graph" in page.inner_text("#message")
    page.keyboard.press("]")
    page.keyboard.press("0")
