"""Takes the pictures of the report page that README shows: the example society, in light and in dark.

    python docs/screenshots.py

Needs Playwright (`pip install -e '.[browser]'`) and a Chromium, as `make test-browser` does.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from sandbox.report.page import write_report

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "runs" / "example" / "society"
IMAGES = ROOT / "docs" / "images"
SIZE = {"width": 1280, "height": 1000}
LINK = "#round=2&agent=21"  # a revision that kept much of its draft


def main() -> None:
    """Write docs/images/report-light.png and report-dark.png."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = Path(folder) / EXAMPLE.name
        run.mkdir()
        shutil.copy(EXAMPLE / "transcript.jsonl", run)
        address = write_report(run).as_uri() + LINK
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme, reduced_motion="reduce")
            page.goto(address)
            page.wait_for_selector("#chain[aria-busy=false]")
            page.screenshot(path=IMAGES / f"report-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()
