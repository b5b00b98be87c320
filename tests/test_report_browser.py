"""The report in a real browser, headless: nothing breaks, nothing is loaded, its controls do what they say."""

from __future__ import annotations

import base64
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.report.page import read_report, write_all, write_page
from tests.synthetic import results, results_folder
from tests.test_sweep import wait_for

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return results_folder(tmp_path_factory.mktemp("results") / "generalization-cifar100", results())


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    return write_all([folder], folder / "report.html")[0]


def show(browser: Any, report: Path, width: int = 1100, scheme: str = "light", media: str = "screen") -> None:
    """Open the report in a window of that width, in light or dark, and wait for the first chart."""
    size = {"width": width, "height": 844 if width < 500 else 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    arrive(browser, lambda: browser.get(report.as_uri()))
    wait(browser, "return !!charts.length")


def arrive(browser: Any, go: Callable[[], None]) -> None:
    """A busy browser may answer before the next page is there, or while its script is still to be run: wait for it."""
    browser.execute_script("window.left = true")
    go()
    wait(browser, "return !window.left && document.readyState === 'complete'")


def wait(browser: Any, condition: str) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 60, 0.05).until(lambda driver: driver.execute_script(condition))


def unfold(browser: Any, name: str = "curves") -> None:
    """Open a part of the page; charts are made when they come into view."""
    browser.execute_script("document.getElementById(arguments[0]).open = true", f"s1-{name}")
    if name == "curves":
        wait(browser, "scrollTo(0, document.body.scrollHeight * Math.random()); return charts.length === 4")


def drawn(browser: Any, name: str) -> Any:
    """The chart of a figure: the names of its lines, the ends of its axes, what is on them."""
    return browser.execute_script(
        """const chart = charts.find(each => each.figure.dataset.name === arguments[0]), { x, y } = chart.plot.scales;
        return { lines: chart.shown.map(line => line.name), x: [x.min, x.max], y: [y.min, y.max], of: chart.x,
                 pixels: chart.box.querySelector("canvas").toDataURL(),
                 last: chart.shown.map(line => line.x.at(-1)) };""",
        f"s1-{name}",
    )


def click(browser: Any, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def tip(browser: Any) -> str:
    from selenium.webdriver.common.by import By

    shown = browser.find_element(By.ID, "tip")
    return " ".join(shown.text.split()) if shown.is_displayed() else ""


def test_the_page_opens_without_errors_and_asks_nobody_for_anything(browser: Any, report: Path) -> None:
    browser.get_log("performance")  # what the browser asked for when it started is its own affair
    show(browser, report)
    unfold(browser)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert report.as_uri() in asked
    assert [url for url in asked if url != report.as_uri() and not url.startswith("data:")] == []


@pytest.mark.parametrize("width", [390, 1400])
def test_question_answer_caveat_and_figure_are_on_the_first_screen(browser: Any, report: Path, width: int) -> None:
    show(browser, report, width)
    height = 844 if width < 500 else 900
    for selector in ("h1", ".told", ".caution", ".lead .live"):
        place = browser.execute_script(
            "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector
        )
        assert place["top"] >= 0
        assert place["bottom"] <= height, selector
        assert place["height"] > 10
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_variant_is_switched_off_and_on_in_all_figures_of_its_section(browser: Any, report: Path) -> None:
    show(browser, report)
    unfold(browser)
    before = {name: drawn(browser, name) for name in ("accuracy_at_loss", "train_loss")}
    click(browser, "[data-variant='ViT_REL']")
    for name, was in before.items():
        now = drawn(browser, name)
        assert now["lines"] == [line for line in was["lines"] if not line.startswith("ViT_REL")]
        assert len(now["lines"]) == len(was["lines"]) - 4  # the mean and three seeds
        assert now["pixels"] != was["pixels"]
    assert browser.execute_script("return document.querySelectorAll('[aria-pressed=false]').length") == 2  # both rows
    click(browser, "[data-variant='ViT_REL']")
    assert {name: drawn(browser, name)["lines"] for name in before} == {n: was["lines"] for n, was in before.items()}
    click(browser, "[data-seeds]")
    means = drawn(browser, "train_loss")
    assert len(means["lines"]) == 5
    assert means["pixels"] != before["train_loss"]["pixels"]


def test_the_x_axis_can_be_chosen_and_made_logarithmic(browser: Any, report: Path) -> None:
    show(browser, report)
    unfold(browser)
    curves, runs = results()
    macs = runs.set_index("variant")["macs"].to_dict()
    curves["macs"] = curves["samples"] * curves["variant"].map(macs)
    for column in ("epoch", "samples", "seconds", "macs", "step"):
        browser.execute_script(
            "const chosen = document.querySelector('[data-x]'); chosen.value = arguments[0];"
            "chosen.dispatchEvent(new Event('change', { bubbles: true }))",
            column,
        )
        now = drawn(browser, "test_accuracy")
        assert now["of"] == column
        assert now["x"] == pytest.approx([0, curves[column].max()], rel=1e-3)
        assert max(now["last"]) == pytest.approx(curves[column].max(), rel=1e-3)
        assert drawn(browser, "accuracy_at_loss")["of"] == "probe_loss"
    click(browser, "figure[data-name$=test_accuracy] input")
    logarithmic = drawn(browser, "test_accuracy")
    assert logarithmic["x"] == pytest.approx([78, 1560])
    assert logarithmic["pixels"] != now["pixels"]


def test_dragging_zooms_and_a_button_shows_all_again(browser: Any, report: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    show(browser, report)
    before = drawn(browser, "accuracy_at_loss")
    over = browser.find_element(By.CSS_SELECTOR, ".lead .u-over")
    ActionChains(browser).move_to_element_with_offset(over, -60, -40).click_and_hold().move_by_offset(
        120, 80
    ).release().perform()
    zoomed = drawn(browser, "accuracy_at_loss")
    for axis in ("x", "y"):
        assert before[axis][0] < zoomed[axis][0] < zoomed[axis][1] < before[axis][1]
    reset = browser.find_element(By.CSS_SELECTOR, ".lead .bar button:not(.csv)")
    assert reset.is_displayed()
    reset.click()
    assert drawn(browser, "accuracy_at_loss")["x"] == before["x"]
    assert not browser.find_element(By.CSS_SELECTOR, ".lead .bar button:not(.csv)").is_displayed()


def test_pointing_tells_the_evaluation_and_leaving_hides_it(browser: Any, report: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    show(browser, report)
    unfold(browser)
    figure = browser.find_element(By.CSS_SELECTOR, "figure[data-name$=test_accuracy]")
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", figure)
    place = browser.execute_script(
        """const chart = charts.find(each => each.figure === arguments[0]);
        const line = chart.shown.find(each => each.name === "ViT_REL · seed 1"), box = chart.plot.over;
        return [chart.plot.valToPos(line.x[9], "x") - box.clientWidth / 2,
                chart.plot.valToPos(line.y[9], "y") - box.clientHeight / 2];""",
        figure,
    )
    over = figure.find_element(By.CSS_SELECTOR, ".u-over")
    ActionChains(browser).move_to_element_with_offset(over, *map(round, place)).perform()
    words = tip(browser)
    assert words.startswith("ViT_REL · ")
    curves, _ = results()
    own = curves[(curves["variant"] == "ViT_REL") & (curves["epoch"] == 10)]
    told = own["test_accuracy"].mean() if "mean of 3" in words else own["test_accuracy"].iloc[int(words.split()[3])]
    assert "step 780 epoch 10 " in words
    assert f"test accuracy {100 * told:.2f}%" in words
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).perform()
    assert not tip(browser)


def test_curves_can_be_explored_and_zoomed_by_keyboard(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, report)
    chart = browser.find_element(By.CSS_SELECTOR, ".lead .live")
    assert "Arrow keys" in (chart.get_dom_attribute("aria-label") or "")
    browser.execute_script("arguments[0].focus()", chart)
    chart.send_keys(Keys.ARROW_RIGHT)
    first = tip(browser)
    chart.send_keys(Keys.ARROW_RIGHT)
    assert tip(browser).split("train loss")[0] == first.split("train loss")[0]
    assert tip(browser) != first
    chart.send_keys(Keys.ARROW_DOWN)
    assert tip(browser).split("train loss")[0] != first.split("train loss")[0]
    whole = drawn(browser, "accuracy_at_loss")["x"]
    chart.send_keys("+")
    zoomed = drawn(browser, "accuracy_at_loss")["x"]
    assert math.log(zoomed[1] / zoomed[0]) == pytest.approx(math.log(whole[1] / whole[0]) / 2)
    chart.send_keys(Keys.ESCAPE)
    assert drawn(browser, "accuracy_at_loss")["x"] == whole


def test_a_narrow_logarithmic_axis_has_its_numbers(browser: Any, report: Path) -> None:
    """There was one from 2.1 to 2.9, and none at all further in."""
    show(browser, report)
    for low, high in ((2.1, 2.9), (1.05, 1.15), (0.01, 5.0), (100.0, 10_000.0), (0.5, 0.5 + 1e-15), (1.0, 1.0)):
        ticks = browser.execute_script("return roundNumbers(...arguments)", low, high)
        assert ticks == sorted(tick for tick in ticks if low <= tick <= high)
        assert 3 <= len(ticks) <= 7 or high - low < 1e-12


def test_tables_are_sorted_by_their_headers(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, report)
    unfold(browser, "values")
    table = browser.find_element(By.CSS_SELECTOR, "#s1-values table")  # size and cost
    header = table.find_elements(By.CSS_SELECTOR, "thead th")[5]
    assert header.text == "final accuracy, %"

    def column() -> list[float]:
        return [
            float(row.find_elements(By.CSS_SELECTOR, "th, td")[5].text)
            for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
        ]

    printed = column()
    orders = []
    for _ in range(3):
        header.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
        orders.append((header.get_attribute("aria-sort"), column()))
    assert orders == [("ascending", sorted(printed)), ("descending", sorted(printed)[::-1]), (None, printed)]


def test_figures_and_tables_can_be_downloaded(browser: Any, report: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    show(browser, report)
    unfold(browser, "relations")
    for selector in (".lead .csv", "figure[data-name$=forest] .csv", "#s1-relations .table .csv"):
        browser.find_element(By.CSS_SELECTOR, selector).click()  # by hand: a script may start one download, not three
    names = ("s1-accuracy-at-loss.csv", "s1-claim1-forest.csv", "relations-one-by-one.csv")
    wait_for(lambda: all((tmp_path / name).exists() for name in names))
    curve, forest, table = (pd.read_csv(tmp_path / name) for name in names)
    curves, _ = results()
    assert set(curve["variant"]) == set(curves["variant"])
    assert len(forest) == len(table) == 10
    np.testing.assert_allclose(table["difference"], 100 * forest.loc[_order(forest, table), "difference"], atol=0.006)


def _order(forest: pd.DataFrame, table: pd.DataFrame) -> list[int]:
    """The rows of `forest` in the order of the table's relations."""
    places = {(row.first, row.second): row.Index for row in forest.itertuples()}
    return [places[relation.split()[0], relation.split()[2]] for relation in table["relation"]]


def test_on_paper_everything_is_unfolded_and_drawn_by_matplotlib(browser: Any, report: Path) -> None:
    show(browser, report, media="print")
    visible = """return [...document.querySelectorAll(arguments[0])].filter(each =>
        each.checkVisibility({ contentVisibilityAuto: true })).length"""
    assert browser.execute_script(visible, "figure svg") == 8
    assert browser.execute_script(visible, "table") == browser.execute_script(
        "return document.querySelectorAll('table').length"
    )
    for selector in (".live", ".controls", ".bar"):
        assert browser.execute_script(visible, selector) == 0
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.count(b"/Type /Page\n") >= 3
    show(browser, report)  # on the screen again: folded, and drawn by the script
    assert browser.execute_script(visible, "figure svg") == 0


def test_it_is_dark_where_dark_is_preferred_and_light_on_paper(browser: Any, report: Path) -> None:
    def brightness(scheme: str, media: str) -> int:
        show(browser, report, scheme=scheme, media=media)
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.strip("rgb()").split(","))

    assert brightness("light", "screen") > 700
    assert brightness("dark", "screen") < 100
    assert brightness("dark", "print") > 700


def test_a_renewed_page_stays_where_it_was(browser: Any, folder: Path, tmp_path: Path) -> None:
    path = write_page(replace(read_report([folder]), refresh=60, progress="15 of 16 runs"), tmp_path / "report.html")
    show(browser, path)
    assert "15 of 16 runs" in browser.execute_script("return document.querySelector('[role=status]').textContent")
    unfold(browser)
    click(browser, "[data-variant='ViT_REL']")
    browser.execute_script("scrollTo(0, 500)")
    arrive(browser, browser.refresh)
    wait(browser, "return scrollY === 500 && document.getElementById('s1-curves').open && charts.length > 1")
    assert not any(line.startswith("ViT_REL") for line in drawn(browser, "train_loss")["lines"])
    assert browser.get_log("browser") == []
