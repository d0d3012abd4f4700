"""The built book, read in Chromium with the network off: every page of the table of contents, search, dark mode,
solutions, mathematics, a phone's width, and axe-core's rules of accessibility.

    pip install -e '.[browser]' && make book && pytest -m browser tests/browser

Environment: DID_BOOK is the built book (default _build/html), CHROMIUM the browser (default /usr/bin/chromium).
"""

import base64
import functools
import io
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install -e '.[browser]'`")
axe_playwright = pytest.importorskip("axe_playwright_python.sync_playwright", reason="it brings axe-core's script")

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / os.environ.get("DID_BOOK", "_build/html")
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# The browser itself asks for nothing; what a page asks for, `Visit` sees.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run", "--no-default-browser-check"]
DESKTOP, PHONE = {"width": 1300, "height": 900}, {"width": 390, "height": 844}

TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
METHOD = [name for name in CHAPTERS if "/method_" in name]
MUTUAL_INFORMATION = next(name for name in METHOD if name.endswith("mutual_information"))
TABLES = next(name for name in CHAPTERS if name.endswith("table1_intra_cross"))


class Visit:
    """A page in a tab of its own, and in `faults` whatever went wrong in it: errors of its scripts, requests that
    failed, and requests to any other host, which are stopped."""

    def __init__(self, browser, site: str, path: str, **context):
        # Without motion: axe-core would take a colour on its way from light to dark for the colour.
        settings = {"viewport": DESKTOP, "color_scheme": "light", "reduced_motion": "reduce"}
        self.context = browser.new_context(**settings | context)
        self.faults: list[str] = []
        self.site = site
        self.tab = tab = self.context.new_page()
        tab.route("**/*", self._only_here)
        tab.on("console", lambda message: message.type == "error" and self.faults.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        tab.on("response", lambda response: response.ok or self.faults.append(f"{response.status}: {response.url}"))
        tab.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        self.go(path)

    def _only_here(self, route):
        if route.request.url.startswith(self.site):
            route.continue_()
        else:
            self.faults.append(f"foreign: {route.request.url}")
            route.abort()

    def go(self, path: str) -> None:
        """Open a page of the book, and wait until its scripts are done and its mathematics is typeset."""
        self.tab.goto(f"{self.site}/{path}", wait_until="load")
        self.tab.wait_for_function("document.documentElement.dataset.theme")
        # MathJax, where there is any, answers when it has started, and again when it is done.
        self.tab.evaluate("() => window.MathJax?.startup?.promise")

    def violations(self) -> list[str]:
        """What axe-core finds serious or critical: the rule and the element, one line each."""
        found = axe_playwright.Axe().run(self.tab).response["violations"]
        return [
            f"{rule['id']} ({rule['impact']}): {' '.join(node['target'])}: {node['html'][:200]}"
            for rule in found
            if rule["impact"] in {"serious", "critical"}
            for node in rule["nodes"]
        ]


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    """The address of the book on this machine."""
    assert (BOOK / "search.html").is_file(), f"no built book at {BOOK}: make book, or name it in DID_BOOK"
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=BOOK)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=CHAPTERS)
def chapter(request, browser, site):
    """Each page of the table of contents, opened once for all tests that take it."""
    visit = Visit(browser, site, f"{request.param}.html")
    visit.name = request.param
    yield visit
    visit.context.close()


@pytest.fixture
def visit(browser, site):
    """Opens a page that a test may click about in."""
    visits = []

    def opened(path: str, **context) -> Visit:
        visits.append(Visit(browser, site, path, **context))
        return visits[-1]

    yield opened
    for one in visits:
        one.context.close()


def listed(lines: list[str]) -> str:
    return "\n  ".join(["", *lines])


def test_a_page_opens_without_an_error_or_a_foreign_request(chapter):
    # Nothing is asked for later either, by what comes into sight.
    chapter.tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    chapter.tab.wait_for_load_state("networkidle")
    assert not chapter.faults, listed(chapter.faults)
    assert chapter.tab.locator("main h1:visible").count() == 1
    broken = chapter.tab.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src.slice(0, 200))")
    assert not broken, listed(broken)


def test_its_mathematics_is_typeset(chapter):
    """MathJax from the book itself: no dollar signs are left, no formula has an error, the letters have a size."""
    raw = chapter.tab.evaluate(
        r"""[...document.querySelectorAll("main .math")].filter(e => !e.querySelector("mjx-container"))
            .concat([...document.querySelectorAll("mjx-merror")]).map(e => e.textContent.slice(0, 100))"""
    )
    assert not raw, listed(raw)
    assert "$$" not in chapter.tab.locator("main").inner_text()
    typeset = chapter.tab.locator("main mjx-container")
    if chapter.name in METHOD:
        assert typeset.count() > 5
        assert typeset.first.bounding_box()["height"] > 8


def test_it_has_no_serious_violation(chapter):
    violations = chapter.violations()
    assert not violations, listed(violations)


@pytest.mark.parametrize("width", [PHONE["width"], 768, 1280])
def test_nothing_is_cut_off(chapter, width):
    """Wide tables scroll in a box of their own, not with the page; code, formulas and what cells print stay inside."""
    chapter.tab.set_viewport_size({"width": width, "height": 900})
    wide = chapter.tab.evaluate(
        """() => {
            const scrolls = e => e && e !== document.body &&
                (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
            return document.documentElement.scrollWidth <= innerWidth ? [] :
                [...document.querySelectorAll("main *")]
                    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e))
                    .map(e => e.outerHTML.slice(0, 150));
        }"""
    )
    page = chapter.tab.evaluate("document.documentElement.scrollWidth")
    beside = chapter.tab.evaluate(
        """() => [...document.querySelectorAll('main [class*="highlight-"] pre')]
            .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 150))"""
    )
    hidden = chapter.tab.evaluate(
        """() => [...document.querySelectorAll("main div.math")]
            .filter(e => e.scrollWidth > e.clientWidth + 1 && !/auto|scroll/.test(getComputedStyle(e).overflowX))
            .map(e => e.id || e.textContent.slice(0, 80))"""
    )
    chapter.tab.set_viewport_size(DESKTOP)
    assert not beside, f"these go on beside their box: {listed(beside)}"
    assert not hidden, f"these formulas are cut off: {listed(hidden)}"
    assert page <= width, f"the page is {page} pixels wide in {width}; beyond the edge are {listed(wide)}"


@pytest.mark.parametrize("name", [MUTUAL_INFORMATION, TABLES, "search"])
def test_there_is_no_serious_violation_in_the_dark(visit, name):
    page = visit(f"{name}.html", color_scheme="dark")
    assert page.tab.evaluate("document.documentElement.dataset.theme") == "dark"
    violations = page.violations()
    assert not violations, listed(violations)


def test_the_sidebar_leads_to_every_page(visit):
    page = visit("index.html")  # it leads on to the first chapter
    page.tab.wait_for_url(f"{page.site}/{CHAPTERS[0]}.html")
    links = page.tab.locator("nav.bd-links a.reference.internal").evaluate_all("all => all.map(a => a.href)")
    # The last part only: the page itself is linked as "#".
    assert {link.split("#")[0] for link in links} == {f"{page.site}/{name}.html" for name in CHAPTERS}
    assert not page.faults, listed(page.faults)


def test_search_finds_the_gradient_reversal(visit):
    page = visit(f"{CHAPTERS[0]}.html")
    page.tab.keyboard.press("Control+k")
    page.tab.locator("#pst-search-dialog input").fill("gradient reversal")
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_url("**/search.html?q=*")
    # The results come one by one; the summary says so when all are there.
    sync_api.expect(page.tab.locator("#search-results .search-summary")).to_contain_text("found")
    links = page.tab.locator("#search-results ul.search li > a").evaluate_all("all => all.map(a => a.href)")
    assert any(f"/{MUTUAL_INFORMATION}.html" in link for link in links), listed(links)
    assert not page.faults, listed(page.faults)
    violations = page.violations()
    assert not violations, listed(violations)


def test_dark_mode_switches_and_stays(visit):
    page = visit(f"{MUTUAL_INFORMATION}.html")

    def look() -> tuple[str, str]:
        return page.tab.evaluate(
            "[document.documentElement.dataset.theme, getComputedStyle(document.body).backgroundColor]"
        )

    seen = [look()]
    for _ in range(3):  # as the system is, light, dark
        page.tab.locator("button.theme-switch-button:visible").first.click()
        seen.append(look())
    backgrounds = {theme: background for theme, background in seen}
    assert backgrounds.keys() == {"light", "dark"}
    assert backgrounds["light"] != backgrounds["dark"]
    while look()[0] != "dark":
        page.tab.locator("button.theme-switch-button:visible").first.click()
    page.go(f"{TABLES}.html")
    assert look() == ["dark", backgrounds["dark"]]


def test_a_solution_unfolds_or_the_edition_has_none(visit):
    """The student edition, known by having no notebook to download, has no solution on any page."""
    page = visit(f"{MUTUAL_INFORMATION}.html")
    solutions = page.tab.locator(".solution")
    if page.tab.locator(".dropdown-download-buttons").count() == 0:
        for name in CHAPTERS:
            page.go(f"{name}.html")
            assert solutions.count() == 0, name
        return
    assert solutions.count() >= 3
    for number in range(solutions.count()):
        solution = solutions.nth(number)
        text = solution.locator("section").first
        sync_api.expect(text).to_be_hidden()
        button = solution.locator("button.toggle-button")
        button.focus()
        page.tab.keyboard.press("Enter")  # a keyboard is enough
        sync_api.expect(text).to_be_visible()
        assert len(text.inner_text()) > 20


def test_a_figure_leads_to_itself_in_full(visit):
    page = visit(f"{TABLES}.html")
    figure = page.tab.locator("main .cell_output a:has(img)").first
    source = figure.locator("img").get_attribute("src")
    figure.click()
    page.tab.wait_for_url(f"**/{Path(source).name}")
    assert not page.faults, listed(page.faults)


def test_each_equation_bears_the_papers_number(browser, site):
    """Sphinx counts; only while every numbered equation is one of the paper's, in its order, the two agree."""
    page, numbers = Visit(browser, site, f"{METHOD[0]}.html"), {}
    for name in METHOD:
        page.go(f"{name}.html")
        numbers |= dict(
            page.tab.evaluate(
                """[...document.querySelectorAll("main .eqno")]
                    .map(e => [e.parentElement.id.replace("equation-eq-", ""), e.firstChild.textContent])"""
            )
        )
    page.context.close()
    assert numbers == {str(number): f"({number})" for number in range(1, 13)}


# --- figures that move ------------------------------------------------------------------------------------------------

MOVING = {"executed/method_2_attention": "entry", "executed/method_4_ranking": "surrogate",
          "executed/method_3_mutual_information": "information", "executed/method_5_together": "beta",
          "ethics": "alarms"}  # fmt: skip


@pytest.mark.parametrize("page", MOVING)
def test_a_figure_moves_by_keyboard_and_says_what_it_shows(visit, page):
    tab = visit(f"book/{page}.html").tab
    figure = tab.locator(f".did-move[data-figure={MOVING[page]}]")
    slider, said = figure.locator("input[type=range]").first, figure.locator(".did-said")
    before, drawn = said.text_content(), figure.locator("svg").inner_html()
    assert before and figure.locator("svg").get_attribute("aria-label").endswith(before)
    slider.focus()
    for _ in range(5):
        tab.keyboard.press("ArrowRight")
    assert figure.locator("svg").inner_html() != drawn and said.text_content() != before
    assert slider.get_attribute("aria-valuetext") == figure.locator("output").first.text_content()


def test_the_drop_of_each_detector_is_that_of_the_records(visit):
    """A list chooses the detector; the words have its worst test, from the records of Tables 1 and 2."""
    from did.paper.records import frame, load

    tab = visit("book/executed/found.html").tab
    figure = tab.locator(".did-move[data-figure=drops]")
    rows = [row for entry in load(ROOT / "results") for row in frame(entry["rows"]).itertuples()
            if entry["experiment"].startswith(("table1", "table2")) and entry["bank"] == "drawn"
            and (row.level, row.metric) == ("frame", "auc") and row.run_here]  # fmt: skip
    for name in ("BCE", "DID", "SBI"):
        figure.locator("select").select_option(name)
        own, *others = [row for row in rows if row.row == name]
        worst = min(others, key=lambda row: row.ours)
        said = figure.locator(".did-said").text_content()
        assert said.startswith(f"{name} has {own.ours:.3f} on FF++, where it was trained.")
        assert f"furthest on {worst.test}, to {worst.ours:.3f} [{worst.low:.3f}, {worst.high:.3f}]" in said
        assert figure.locator("svg circle").count() == len(others) + 1


def test_what_the_figures_compute_is_what_the_package_computes(visit):
    import numpy as np
    import torch
    from scipy.stats import multivariate_normal, norm

    from did.evaluation.metrics import auc
    from did.method.losses import auc_loss, jsd_mutual_information
    from did.method.task import beta

    tab = visit("book/ethics.html").tab
    for difference, gamma, power in ((-0.3, 0.15, 2.0), (0.1, 0.5, 3.0), (0.2, 0.15, 2.0)):
        mine = tab.evaluate(f"didCompute.surrogate({{difference: {difference}, gamma: {gamma}, p: {power}}})")
        scores = torch.tensor([difference, 0.0], dtype=torch.float64)
        assert mine == pytest.approx(auc_loss(scores, torch.tensor([1, 0]), gamma, power).item(), abs=1e-9)
    for done in (0.0, 0.3, 1.0):
        assert tab.evaluate(f"didCompute.beta({{done: {done}}})") == pytest.approx(beta(done), abs=1e-9)
    of = tab.evaluate("didCompute.alarms({gap: 1.1, threshold: 1.65, prior: 0.001})")
    assert [of["found"], of["wrong"]] == pytest.approx(norm.sf([0.55, 1.65]), abs=1e-6)
    grid = norm.ppf((np.arange(4000) + 0.5) / 4000)
    labels, scores = np.repeat([0, 1], 4000), np.concatenate([grid, grid + 1.1])
    assert of["auc"] == pytest.approx(auc(labels, scores), abs=1e-3)
    assert of["share"] == pytest.approx(of["right"] / (of["right"] + of["false_"]))
    for r in (0.0, 0.6, 0.95):
        shared = tab.evaluate(f"didCompute.information({{r: {r}, steps: 400}})")
        # The best T's score is the log of the ratio of densities; over a million pairs drawn at random.
        x, other, noise = np.random.default_rng(0).standard_normal((3, 1_000_000))
        pairs = np.stack([x, r * x + np.sqrt(1 - r * r) * noise], 1), np.stack([x, other], 1)
        dependent, free = multivariate_normal([0, 0], [[1, r], [r, 1]]), multivariate_normal([0, 0])
        score = [dependent.logpdf(each) - free.logpdf(each) for each in pairs]
        joint, apart = (torch.from_numpy(each) for each in score)
        assert shared["nats"] == pytest.approx(score[0].mean(), abs=4e-3)
        assert shared["estimate"] == pytest.approx(jsd_mutual_information(joint, apart).item(), abs=4e-3)
        told = ((score[0] > 0).mean() + (score[1] < 0).mean()) / 2 if r else 0.5
        assert shared["right"] == pytest.approx(told, abs=8e-3)
    entry = tab.evaluate("['sum', 'product'].map((merge) => didCompute.entry({u: 2, v: -1, merge}))")
    assert entry == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2))])


def test_without_scripts_the_place_of_a_moving_figure_has_words(browser, site):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{site}/book/ethics.html")
    assert "the table above is one case" in tab.locator(".did-move").text_content()
    context.close()


def test_a_chapter_is_its_own_slides(visit):
    seen = visit("book/executed/method_1_decomposition.html?present")
    tab = seen.tab
    status = tab.locator(".did-slides [role=status]")
    status.wait_for()
    count = int(status.inner_text().split()[-1])
    assert count > 10 and status.inner_text() == f"1 of {count}"
    texts, exercises = [], 0
    for number in range(1, count + 1):
        assert status.inner_text() == f"{number} of {count}"
        texts.append(tab.locator(".did-slides main").inner_text())
        assert tab.locator(".did-slides main :is(img, .exercise, table.dataframe)").count() <= 2
        exercises += tab.locator(".did-slides main .exercise").count()
        tab.keyboard.press("ArrowRight")
    assert len(set(texts)) == count, "a slide comes twice"
    assert exercises == 5
    assert not any("Solution" in text or "import torch" in text for text in texts)
    assert not seen.violations()
    tab.keyboard.press("Home")
    assert status.inner_text() == f"1 of {count}"
    tab.keyboard.press("Escape")
    tab.wait_for_url("**/method_1_decomposition.html")
    assert tab.locator(".did-slides").count() == 0 and tab.get_by_text("Show this page as slides").count() == 1


def test_the_detector_in_the_page_says_what_did_predict_says(visit):
    """Landmarks are rounded, so that the page and the package cut out the same crop; from it they compute alike."""
    import numpy as np
    from PIL import Image

    from did.data.faces import align, detect, template

    page = visit("book/executed/try_it.html")
    tab = page.tab
    if tab.locator(".did-try").count() == 0:
        pytest.skip("this book was built without a trained detector")
    assert "means nothing" in tab.locator(".admonition").first.text_content()
    buttons = tab.locator(".did-try button")
    sync_api.expect(buttons.first).to_be_visible()
    samples = tab.evaluate("didTry.card.samples.map((sample) => [sample.is, sample.score])")
    assert buttons.count() == len(samples) > 1
    for number, (is_, score) in enumerate(samples):
        tab.evaluate("didTry.last = undefined")
        buttons.nth(number).focus()
        tab.keyboard.press("Enter")  # a keyboard is enough
        tab.wait_for_function("didTry.last !== undefined", timeout=120_000)
        card = tab.evaluate("({...didTry.card, samples: didTry.card.samples.map((sample) => sample.data)})")
        assert np.allclose(card["template"], template(card["size"]))
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(card["samples"][number].split(",")[1]))))
        ((face, *_),) = detect([picture])
        crop = np.array(tab.evaluate("Array.from(didTry.last.crop)")).reshape(card["size"], card["size"], 3)
        assert (crop == align(picture, face.landmarks, card["size"])).all(), is_
        assert tab.evaluate("didTry.last.score") == pytest.approx(score, abs=1e-3), is_
        probability = 1 / (1 + np.exp(-score / card["temperature"]))
        assert tab.evaluate("didTry.last.probability") == pytest.approx(probability, abs=1e-3), is_
        assert is_ in tab.locator(".did-try .did-said").text_content()
        tab.context.set_offline(True)  # what the first picture has loaded, stays
    assert not page.faults, listed(page.faults)
    violations = page.violations()
    assert not violations, listed(violations)
