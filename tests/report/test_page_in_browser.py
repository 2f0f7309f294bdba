"""The pages in a real browser: nothing wider than the screen, no error, no request, axe's rules.

Needs playwright, axe-playwright-python (both in the extra `dev`) and a Chromium: one on PATH, or
POTSTILL_CHROMIUM=/path/to/chromium.
"""

import os
import shutil

import pytest

from potstill.report.compare import write_comparison
from potstill.report.page import write_page
from potstill.report.sweep import write_sweep
from tests.support.hostile_names import NAMES as HOSTILE
from tests.support.sample_runs import ROWS, row, timed, write_exports, write_json, write_run

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
WIDER = """[...document.querySelectorAll('body *')].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, pre, svg')
).map(e => e.outerHTML.slice(0, 80))"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("POTSTILL_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium: set POTSTILL_CHROMIUM or put one on PATH")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe():
    module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe")
    return module.Axe()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One page of each kind, by name."""
    folder = tmp_path_factory.mktemp("pages")
    networks = ("teacher", "student", "int8-qat")
    run = write_run(folder / "run", timed(), curves=networks)
    write_exports(run)
    write_page(run)
    others = [write_json(folder / name, data_fingerprint=name * 64) for name in ("a", "b")]
    for number in range(4):
        given = [f"temperature={2 + number // 2}", f"alpha=0.{5 + number % 2}"]
        rows = [row(ROWS[2], val_accuracy=0.9 + number / 100)]
        write_json(folder / "sweep" / str(number), rows, overrides=given)
    return {
        "run": run / "report.html",
        "compare": write_comparison([run, *others], folder / "compare.html"),
        "sweep": write_sweep(folder / "sweep"),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", ["run", "compare", "sweep"])
def test_a_page_in_chromium(kind, width, scheme, browser, axe, pages):
    viewport = {"width": width, "height": 800}
    # Past the page's own policy, which would not let axe in.
    context = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[kind].as_uri())
    assert page.evaluate(WIDER) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.run(page).response["violations"]
    assert [(one["impact"], one["id"], one["nodes"][0]["html"][:100]) for one in found] == []
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", pages[kind].as_uri()))] == []
    context.close()


def test_hostile_names_are_text_and_no_script_runs(browser, tmp_path):
    rows = [row(ROWS[k % 6], name=name, stage=name) for k, name in enumerate(HOSTILE)]
    folder = write_run(tmp_path / "run", rows, HOSTILE, photos=280, meta={"name": HOSTILE[0]})
    # Past the page's own policy, which would stop a script that the escaping let through.
    context = browser.new_context(viewport={"width": 390, "height": 800}, bypass_csp=True)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto((folder / "report.html").as_uri())
    assert said == []
    assert page.title() == HOSTILE[0]
    assert page.evaluate("document.scripts.length") == 0
    shown = page.evaluate("[...document.querySelectorAll('bdi')].map(e => e.title || e.innerText)")
    assert set(HOSTILE) <= set(shown)
    assert page.evaluate(WIDER) == []
    context.close()


def test_the_policy_of_a_page_forbids_requests(browser, pages):
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(pages["run"].as_uri())
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/'}))")
    page.wait_for_timeout(200)
    assert any("Content Security Policy" in text for text in said)
    page.close()
