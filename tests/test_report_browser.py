"""The report in a real browser, headless: nothing breaks, nothing is loaded, curves can be explored."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.report.page import write_all
from tests.synthetic import results, results_folder

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_browser() -> tuple[str, str]:
    """Chromium and its driver. Without them the tests are skipped; in CI, where they must be, they fail."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if browser and driver and importlib.util.find_spec("selenium"):
        return browser, driver
    reason = "no headless browser: install Debian's chromium and chromium-driver, and the package selenium"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    binary, driver = find_browser()
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.get("about:blank")
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = results_folder(tmp_path_factory.mktemp("results") / "generalization-cifar100", results())
    return write_all([folder], folder / "report.html")[0]


def show(browser: Any, report: Path, width: int = 1100, scheme: str = "light", media: str = "screen") -> None:
    """Open the report in a window of that width, in light or dark."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(report.as_uri())


def hover(browser: Any, column: str, run: str, at: int) -> None:
    """Point at one evaluation of one run in the figure of `column` against step or epoch.

    Where that is on the screen is worked out here, by the rule that `inline.Panel` states.
    """
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    for figure in browser.find_elements(By.CSS_SELECTOR, "figure[data-panels]"):
        panel = json.loads(figure.get_attribute("data-panels"))[0]
        if panel["y"]["column"] == column and panel["x"]["column"] in ("step", "epoch"):
            break
    else:
        pytest.fail(f"no figure shows {column}")
    row = evaluation(run, at)
    svg = figure.find_element(By.TAG_NAME, "svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    *_, width, height = map(float, (svg.get_dom_attribute("viewBox") or "").split())
    scale = svg.rect["width"] / width
    offsets = []
    for axis, size in ((panel["x"], width), (panel["y"], height)):
        scaled = math.log if axis["log"] else float
        first, last, value = (scaled(number) for number in (*axis["limits"], row[axis["column"]]))
        start, end = axis["place"]
        offsets.append(round(scale * (start + (value - first) / (last - first) * (end - start) - size / 2)))
    ActionChains(browser).move_to_element_with_offset(svg, *offsets).perform()


def evaluation(run: str, at: int) -> dict[str, Any]:
    """One measured row of the synthetic results, with its gap."""
    curves, _ = results()
    row = curves[curves["run"] == run].iloc[at].to_dict()
    return {**row, "gap": row["probe_accuracy"] - row["test_accuracy"]}


def tip(browser: Any) -> str:
    from selenium.webdriver.common.by import By

    shown = browser.find_element(By.ID, "tip")
    return " ".join(shown.text.split()) if shown.is_displayed() else ""


def test_the_page_opens_without_errors_and_asks_nobody_for_anything(browser: Any, report: Path) -> None:
    browser.get_log("performance")  # what the browser asked for when it started is its own affair
    show(browser, report)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert report.as_uri() in asked
    assert [url for url in asked if url != report.as_uri() and not url.startswith("data:")] == []


@pytest.mark.parametrize("column", ["probe_loss", "test_accuracy", "gap"])
@pytest.mark.parametrize("at", [9, 19])
def test_hovering_tells_variant_seed_step_and_values(browser: Any, report: Path, column: str, at: int) -> None:
    show(browser, report)
    assert tip(browser) == ""
    hover(browser, column, "ViT_REL-1", at)  # a variant apart from the others; its seeds may lie on one another
    words = tip(browser)
    assert words.startswith("ViT_REL · seed ")
    row = evaluation(f"ViT_REL-{words.split()[3]}", at)
    assert f"step {row['step']:,} epoch {at + 1} " in words
    assert f"train loss {row['probe_loss']:.4g}" in words
    assert f"train accuracy {100 * row['probe_accuracy']:.2f}%" in words
    assert f"test accuracy {100 * row['test_accuracy']:.2f}%" in words
    assert f"gap {100 * row['gap']:.2f} points" in words
    assert browser.get_log("browser") == []


def test_leaving_a_figure_hides_the_values(browser: Any, report: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    show(browser, report)
    hover(browser, "test_accuracy", "C-T-T-T-0", 14)
    assert tip(browser)
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h2")).perform()
    assert not tip(browser)


def test_curves_can_be_explored_by_keyboard(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, report)
    svg = browser.find_element(By.CSS_SELECTOR, "figure[data-panels] svg")
    browser.execute_script("arguments[0].focus()", svg)
    svg.send_keys(Keys.ARROW_RIGHT)
    assert "step 78 " in tip(browser)
    first = tip(browser).split(" step")[0]
    svg.send_keys(Keys.ARROW_RIGHT)
    assert "step 156 " in tip(browser)
    svg.send_keys(Keys.ARROW_DOWN)
    assert tip(browser).split(" step")[0] != first


@pytest.mark.parametrize("width", [320, 390, 768, 1400])
def test_nothing_sticks_out_at_the_side(browser: Any, report: Path, width: int) -> None:
    show(browser, report, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_it_is_dark_where_dark_is_preferred_and_light_on_paper(browser: Any, report: Path) -> None:
    def brightness(scheme: str, media: str) -> int:
        show(browser, report, scheme=scheme, media=media)
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.strip("rgb()").split(","))

    assert brightness("light", "screen") > 700
    assert brightness("dark", "screen") < 100
    assert brightness("dark", "print") > 700
