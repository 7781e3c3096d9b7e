"""A headless Chromium, and pages opened in it as a reader opens them: as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.report.page import LARGEST, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Opened = Callable[..., "Page"]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Ends with this package: while Playwright runs, no other test of the process could start an event loop."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "no chromium in PATH: `make test-browser` installs it where it may"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """Writes the page of a run and opens it; in the end nothing must have gone wrong, and nothing been loaded.

    `errors` says that the console is to tell of some; other options are the browser's.
    """
    pages: list[tuple[Page, Path, bool, list[str], list[str]]] = []

    def open_page(run: Path, link: str = "", *, largest: int = LARGEST, errors: bool = False, **options: Any) -> Page:
        report = write_report(run, largest=largest)
        page = browser.new_page(**options)
        wrong: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        pages.append((page, report, errors, wrong, asked))
        page.goto(report.resolve().as_uri() + link)
        page.wait_for_selector("#chain[aria-busy=false]")
        return page

    yield open_page
    for page, report, errors, wrong, asked in pages:
        page.close()
        assert bool(wrong) == errors, wrong
        own = (report.resolve().as_uri(), report.with_suffix("").resolve().as_uri() + "/round-")
        assert asked and all(url.startswith(own) for url in asked), asked
