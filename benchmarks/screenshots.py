"""Takes a picture of a page, such as a report, in the system's Chromium: the pictures in docs/ are made by it.

python -m pip install ".[test]"
python benchmarks/screenshots.py runs/drive/report.html report.png --press End --press w
python benchmarks/screenshots.py runs/drive/report.html phone.png --width 400 --dark --whole
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

SETTLED_MILLISECONDS = 1500
"""A page decodes its pictures after it has been loaded."""


def main() -> None:
    """Opens the page, presses the keys, and takes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1400, help="of the window, in pixels")
    parser.add_argument("--height", type=int, default=930)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true", help="the whole page, not only what the window shows")
    parser.add_argument("--at", metavar="TEXT", help="scroll to the heading with this text")
    parser.add_argument("--press", metavar="KEY", action="append", default=[], help="keys to press before")
    arguments = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = launched.new_page(
            viewport={"width": arguments.width, "height": arguments.height},
            color_scheme="dark" if arguments.dark else "light",
        )
        page.goto(arguments.page.resolve().as_uri())
        for key in arguments.press:
            page.keyboard.press(key)
        page.wait_for_timeout(SETTLED_MILLISECONDS)
        if arguments.at:
            page.get_by_role("heading", name=arguments.at).evaluate("heading => heading.scrollIntoView()")
        page.screenshot(path=arguments.picture, full_page=arguments.whole)


if __name__ == "__main__":
    main()
