"""The report in a browser: what the player shows is checked pixel by pixel, its controls by using them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import BEST, CAR, FRAMES, HEIGHT, ROAD, TREE, WIDTH, WORST, gray_of, make_run, write_frames

from ttt_cli.core.classes import CAMVID
from ttt_cli.report.page import build
from ttt_cli.report.watch import watch
from ttt_cli.run.lock import locked

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

Page = Any  # playwright.sync_api.Page, which mypy cannot see here.
ABOVE, LEFT, RIGHT = (0.5, 0.25), (0.25, 0.75), (0.75, 0.75)
"""Places in a picture: tree in all, then where fixed and adapted agree on road, and where the fixed one has a car."""
WIDE, NARROW = 1400, 400


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, run: Path, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the report of the run in a window of a given width and colors; nothing may be said on the console."""
    said: list[str] = []
    pages = []
    file = tmp_path / "report.html"

    def open_page(width: int = WIDE, colors: str = "light") -> Page:
        if not file.exists():
            file.write_text(build([run]), encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colors)
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto(file.as_uri())
        shows(page, 0)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


def shows(page: Page, frame: int) -> None:
    """Waits until the player shows a frame."""
    page.wait_for_selector(f'.player[data-shown="{frame}"]', timeout=10_000)


def color_at(page: Page, pane: int, place: tuple[float, float]) -> list[int]:
    """The color of a pixel of a canvas of the player; place: shares of its width and height."""
    script = """([pane, x, y]) => {
        const canvas = document.querySelectorAll(".player .pane canvas")[pane];
        const copy = document.createElement("canvas");
        copy.width = copy.height = 1;
        const context = copy.getContext("2d");
        context.drawImage(canvas, -Math.floor(x * canvas.width), -Math.floor(y * canvas.height));
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }"""
    color: list[int] = page.evaluate(script, [pane, *place])
    return color


def tinted(frame: int, class_id: int | None, opacity: float = 0.45, brightened: bool = True) -> Any:
    """The color of a pixel of a class; None is of the frame alone. JPEG and rounding may change it a little."""
    gray = gray_of(frame)
    if brightened:  # To a mean of 0.35, by three times the light at most.
        gray *= min(3, max(1, 0.35 * 255 / gray))
    color = (gray,) * 3 if class_id is None else CAMVID[class_id].color
    return pytest.approx([opacity * value + (1 - opacity) * gray for value in color], abs=4)


def test_the_panes_show_the_frame_and_both_models(opened: Callable[..., Page]) -> None:
    page = opened()
    assert page.locator(".pane figcaption b").all_inner_texts() == ["Source", "Fixed", "Adapted"]
    for frame in (0, 1):
        assert color_at(page, 0, RIGHT) == tinted(frame, None, brightened=False)
        assert color_at(page, 1, ABOVE) == color_at(page, 2, ABOVE) == tinted(frame, TREE)
        assert color_at(page, 1, LEFT) == tinted(frame, ROAD)
        assert color_at(page, 1, RIGHT) == tinted(frame, CAR)
        assert color_at(page, 2, RIGHT) == tinted(frame, ROAD)
        page.get_by_role("button", name="Frame forward").click()
        shows(page, frame + 1)
    assert "mIoU 62.0" in page.locator(".pane").nth(2).inner_text()


def test_every_way_to_a_frame(opened: Callable[..., Page]) -> None:
    page = opened()
    last = FRAMES - 1
    for key, frame in (
        ("End", last),
        ("ArrowLeft", last - 1),
        ("Home", 0),
        ("Shift+ArrowRight", 10),
        ("ArrowRight", last),
    ):
        page.keyboard.press(key)
        shows(page, frame)
    page.get_by_role("button", name="First frame").click()
    shows(page, 0)
    page.get_by_label("Frame", exact=True).fill("5")
    shows(page, 5)
    chart = page.locator(".chart svg").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 46 + (box["width"] - 54) * 8 / last, box["y"] + 40)
    page.mouse.down()
    shows(page, 8)
    page.mouse.move(box["x"] + box["width"], box["y"] + 40, steps=3)
    page.mouse.up()
    shows(page, last)
    page.locator(f'.moments:below(:text("Lowest score")) [data-position="{WORST}"]').first.click()
    shows(page, WORST)
    page.locator(f'.moments:below(:text("Highest score")) [data-position="{BEST}"]').first.click()
    shows(page, BEST)
    assert page.locator(".charts .key output").first.inner_text() == "54.0", "the fixed model's score at that frame"


def test_the_frames_to_look_at_are_drawn(opened: Callable[..., Page]) -> None:
    page = opened()
    moments = page.locator(".moment")
    drawn = page.locator(f'.moment canvas[width="{WIDTH}"][height="{HEIGHT}"]')
    playwright.expect(drawn).to_have_count(moments.count())


def test_the_player_fills_the_screen_and_gives_it_back(opened: Callable[..., Page]) -> None:
    page = opened()
    page.keyboard.press("f")
    page.wait_for_selector(".player:fullscreen")
    page.keyboard.press("ArrowRight")
    shows(page, 1)
    page.keyboard.press("f")
    page.wait_for_selector(".player:not(:fullscreen)")


def test_it_plays_to_the_end_and_from_the_beginning_again(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_label("Speed").select_option("4")
    page.locator("h2").click()
    began = time.monotonic()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    shows(page, FRAMES - 1)
    assert time.monotonic() - began > 0.9 * (FRAMES - 1) / 5 / 4, "5 frames a second, four times as fast"
    page.get_by_role("button", name="Play").wait_for()
    page.get_by_label("Speed").select_option("0.25")
    page.get_by_role("button", name="Play").click()
    shows(page, 1)


def test_masks_classes_and_differences(opened: Callable[..., Page]) -> None:
    page = opened()
    legend = page.locator(".legend li", has_text="road")
    assert "25.0 → 50.0 %" in legend.inner_text()
    legend.get_by_role("checkbox").uncheck()
    assert color_at(page, 2, LEFT) == tinted(0, None)
    assert color_at(page, 2, ABOVE) == tinted(0, TREE)
    page.get_by_role("button", name="All", exact=True).click()
    assert color_at(page, 2, LEFT) == tinted(0, ROAD)
    page.get_by_label("Opacity of the masks").fill("100")
    assert color_at(page, 2, LEFT) == tinted(0, ROAD, opacity=1)
    page.locator("h2").click()
    page.keyboard.press("d")
    assert color_at(page, 2, LEFT) == tinted(0, None), "there the models agree"
    assert color_at(page, 2, RIGHT) == tinted(0, ROAD, opacity=1)
    assert color_at(page, 1, RIGHT) == tinted(0, CAR, opacity=1)
    page.get_by_label("brighten dark frames").uncheck()
    assert color_at(page, 2, LEFT) == tinted(0, None, brightened=False)
    page.locator("h2").click()
    page.keyboard.press("b")
    assert color_at(page, 2, LEFT) == tinted(0, None)
    page.keyboard.press("m")
    assert color_at(page, 2, RIGHT) == tinted(0, None, brightened=False)
    assert not page.get_by_label("masks", exact=True).is_checked()


def test_the_border_between_the_models_can_be_dragged(opened: Callable[..., Page]) -> None:
    page = opened()
    page.get_by_role("button", name="Wipe").click()
    canvas = page.locator(".pane.wipe canvas")
    far = (0.95, 0.95)
    assert color_at(page, 0, far) == tinted(0, ROAD), "right of the border is the adapted model"
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20, steps=4)
    page.mouse.up()
    assert color_at(page, 0, far) == tinted(0, CAR), "now it is left of it"
    canvas.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert int(canvas.get_attribute("aria-valuenow")) in range(75, 85)
    assert color_at(page, 0, far) == tinted(0, ROAD)
    shows(page, 0)


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("colors", ["light", "dark"])
def test_all_text_can_be_read(opened: Callable[..., Page], width: int, colors: str) -> None:
    page = opened(width, colors)
    page.locator("details summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TOO_FAINT) == []
    assert page.evaluate(OVERLAPPING) == []


def test_the_colors_can_be_chosen(opened: Callable[..., Page]) -> None:
    page = opened(colors="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate(ground)
    assert light != dark
    assert page.evaluate(TOO_FAINT) == []
    assert opened(colors="dark").evaluate(ground) == dark


def test_all_controls_have_names(opened: Callable[..., Page]) -> None:
    page = opened()
    assert page.locator("button, input, select, [role=slider]").count() > 20
    unnamed = """() => [...document.querySelectorAll("button, input, select, [role=slider], [role=img]")]
        .filter((control) => !control.getAttribute("aria-label") && !control.textContent.trim())
        .filter((control) => ![...(control.labels || [])].some((label) => label.textContent.trim()))
        .map((control) => control.outerHTML)"""
    assert page.evaluate(unnamed) == []


def test_a_watched_page_renews_itself_and_keeps_what_was_chosen(browser: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path, frames=3, status="running")
    addresses: list[str] = []
    watching = threading.Thread(target=lambda: watch([run], lambda folder: None, addresses.append))
    with locked(run):
        watching.start()
        while not addresses:
            time.sleep(0.05)
        page = browser.new_page(viewport={"width": WIDE, "height": 900})
        page.goto(addresses[0])
        shows(page, 2)
        page.get_by_role("button", name="Wipe").click()
        write_frames(run, 8)
        shows(page, 7)
        assert page.locator(".pane.wipe").count() == 1, "the view stays"
        assert color_at(page, 0, LEFT) == tinted(7, ROAD)
        page.keyboard.press("Home")
        shows(page, 0)
        write_frames(run, FRAMES)
        page.wait_for_selector(f'.scrub[max="{FRAMES - 1}"]')
        shows(page, 0)
    watching.join(timeout=60)
    page.wait_for_selector('.facts:has-text("cut off")')
    page.keyboard.press("End")
    shows(page, FRAMES - 1)
    assert color_at(page, 0, LEFT) == tinted(FRAMES - 1, ROAD), "the last page has its pictures in it"
    page.close()


TEXTS = """
const texts = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest("script, style, noscript, option, select")) continue;
    if (!parent.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) if (box.width && box.height) texts.push({ node, parent, box });
}
"""
TOO_FAINT = (
    "() => {"
    + TEXTS
    + """
const channels = (color) => color.match(/[0-9.]+/g).map(Number);
const luminance = (color) => channels(color).slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
const ground = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return channels(color)[3] === 0 && element.parentElement ? ground(element.parentElement) : color;
};
return texts.filter(({ parent }) => {
    const style = getComputedStyle(parent);
    const [low, high] = [luminance(parent instanceof SVGElement ? style.fill : style.color), luminance(ground(parent))]
        .sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05) < 4.5;
}).map(({ node }) => node.textContent.trim());
}"""
)
"""Texts whose contrast with their ground is below 4.5, by WCAG 2."""
OVERLAPPING = (
    "() => {"
    + TEXTS
    + """
const found = [];
texts.forEach((text, at) => {
    const { box, parent } = text;
    const outside = box.left < 0 || box.right > innerWidth;
    if (outside && !parent.closest(".scrolls, .plot")) found.push("cut: " + text.node.textContent);
    for (const other of texts.slice(at + 1)) {
        const wide = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
        const high = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
        if (other.node !== text.node && wide > 1 && high > 0.35 * Math.min(box.height, other.box.height))
            found.push(text.node.textContent + " / " + other.node.textContent);
    }
});
return found;
}"""
)
"""Texts over other texts, and texts that are cut off by the window."""
