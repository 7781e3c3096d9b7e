"""The report page in a real browser, read as a file: what it shows, how one moves in it, and that it stays inert."""

from __future__ import annotations

import random
import re
import runpy
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright", reason="needs a browser: `make test-browser`")

from playwright.sync_api import expect

from agents.records import Feedback
from sandbox.interaction import Question
from tests.browser.conftest import Opened
from tests.sandbox.examples import BUS, CUP, HEADER, heard, interaction, rated, step, write_run

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
HEADER3 = {**HEADER, "world": {**HEADER["world"], "size": 3}}
RUNS = "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'></script><!-- \u2028 {{ 7 * 7 }} "
HOSTILE = RUNS + "\\ud83d \ufffd \u202e &lt;b&gt; javascript:window.ran=3 " + "endless" * 200


@pytest.fixture
def society(tmp_path: Path) -> Path:
    """3 × 3 agents, three rounds. Agent 4 has much to show; whose number is even asks about the cup."""

    def said(round: int, agent: int) -> Any:
        first, second, third = [peer for peer in (0, 8, 1, 2) if peer != agent][:3]
        heards = [heard(first, 2.0, "Too blunt."), heard(second, 5.5, "Kind enough.")]
        heards.append(replace(heard(third, None, None), outcome="timeout"))
        draft = f"Round {round}: agent {agent} would hide the cup in the shed."
        revised = f"Round {round}: agent {agent} would tell her about the cup in the shed."
        return interaction(
            round,
            agent,
            draft=draft,
            before={"llm:verdict": rated(1.0 + agent / 2, 3.0), "embedding": rated(4.25, None)},
            steps=[step(revised, {"llm:verdict": rated(2.0 + agent / 2, 6.0)}, heards)],
            question=BUS if agent % 2 else CUP,
        )

    rounds = [[said(k, agent) for agent in range(9)] for k in (1, 2, 3)]
    rounds[1][3] = interaction(2, 3, draft=None, before={}, steps=[], outcome="refused")
    rounds[2][5] = replace(rounds[2][5], stance="bad")
    return write_run(tmp_path / "society", rounds, HEADER3)


def cell(page: Page, agent: int) -> Any:
    return page.locator("#grid button").nth(agent)


def shows(page: Page, round: int, agent: int) -> None:
    """The page is at that interaction, in its title, its chain, its grid and its address."""
    expect(page.locator("#chain-title")).to_have_text(f"Agent {agent} in round {round}")
    expect(page.locator("#chain .answer").first).to_have_text(
        f"Round {round}: agent {agent} would hide the cup in the shed."
    )
    expect(page.locator("#grid [aria-pressed=true]")).to_have_count(1)
    expect(cell(page, agent)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#round-number")).to_have_text(f"{round} of 3")
    expect(page).to_have_url(re.compile(f"#round={round}&agent={agent}$"))


def scrolls_sideways(page: Page) -> bool:
    wider: bool = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wider


# --- what it shows


def test_it_opens_at_the_last_round(opened: Opened, society: Path) -> None:
    page = opened(society)
    assert page.title() == "society"
    shows(page, 3, 0)
    expect(cell(page, 8)).to_have_text("6.0")
    expect(cell(page, 8)).to_have_attribute("aria-label", "agent 8, good: alignment 6.00")


def test_a_click_on_an_agent_shows_its_chain(opened: Opened, society: Path) -> None:
    page = opened(society)
    cell(page, 4).click()
    shows(page, 3, 4)
    chain = page.locator("#chain")
    expect(chain.locator(".about")).to_have_text(re.compile("good.*tiny.*honesty"))
    expect(chain.locator(".question")).to_have_text(CUP.text)
    chain.locator("summary").click()
    expect(chain.locator("details li")).to_have_text(["0.50Who ate the cake?I did."])
    spoken = ["2.00agent 0Too blunt.", "5.50agent 8Kind enough.", "–agent 1no text: timeout"]
    expect(chain.locator("h3:has-text('Feedback') + ul li")).to_have_text(spoken)
    expect(chain.locator("table.ratings tr")).to_have_text([
        "draftrevision",
        "alignment by llm:verdict3.004.00", "engagement by llm:verdict3.006.00",
        "alignment by embedding4.25–", "engagement by embedding––",
    ])  # fmt: skip
    chain.get_by_role("link", name="agent 8").click()
    shows(page, 3, 8)
    expect(chain).to_be_focused()
    page.go_back()
    shows(page, 3, 4)


def test_lines_lead_to_the_neighbours_who_spoke(opened: Opened, society: Path) -> None:
    page = opened(society, "#round=1&agent=4")
    expect(page.locator("#grid .peer")).to_have_count(3)
    end = "(line) => line.getPointAtLength(line.getTotalLength())"
    ends = page.locator("#lines path:not(.halo)").evaluate_all(
        f"(lines) => lines.map({end}).map(({{ x, y }}) => [x, y].map(Math.floor))"
    )
    assert ends == [[0, 0], [2, 2], [1, 0]], "column and row of agents 0, 8 and 1"
    boxes = page.evaluate("['grid', 'lines'].map((id) => document.getElementById(id).getBoundingClientRect())")
    assert [boxes[1][side] - boxes[0][side] for side in ("left", "right", "top", "bottom")] == pytest.approx(
        [-1.5, 1.5, -1.5, 1.5], abs=0.1
    ), "half a gap around the grid, so that a unit is a cell"
    cell(page, 3).click()
    page.locator("#round").fill("1")
    expect(page.locator("#chain")).to_contain_text("no text: refused")
    expect(page.locator("#lines path")).to_have_count(0)


def test_what_a_revision_changed_is_marked(opened: Opened, society: Path) -> None:
    page = opened(society, "#round=2&agent=4")
    revision = page.locator("#chain .answer").nth(1)
    expect(revision.locator("del")).to_have_text(["hide"])
    expect(revision.locator("ins")).to_have_text(["tell her about"])
    page.get_by_label("mark changes").focus()
    page.keyboard.press("Space")
    expect(revision).to_have_text("Round 2: agent 4 would tell her about the cup in the shed.", use_inner_text=True)
    expect(revision.locator("ins")).to_have_css("text-decoration-line", "none")
    expect(page.get_by_label("mark changes")).to_be_focused()
    cell(page, 5).click()
    expect(page.get_by_label("mark changes")).not_to_be_checked()


def test_the_controls_choose_what_colours_the_grid(opened: Opened, society: Path) -> None:
    page = opened(society, "#round=2&agent=4")

    def all_cells() -> list[str]:
        found: list[str] = page.locator("#grid button").all_inner_texts()
        return found

    final = cell(page, 8).evaluate("cell => getComputedStyle(cell).backgroundColor")
    assert all_cells() == ["2.0", "2.5", "3.0", "–", "4.0", "4.5", "5.0", "5.5", "6.0"]
    page.locator("#controls").get_by_text("draft").click()
    assert all_cells() == ["1.0", "1.5", "2.0", "–", "3.0", "3.5", "4.0", "4.5", "5.0"]
    expect(cell(page, 8)).not_to_have_css("background-color", final)
    page.locator("#controls").get_by_text("engagement").click()
    assert set(all_cells()) == {"3.0", "–"}
    page.get_by_label("Observer").select_option("embedding")
    assert set(all_cells()) == {"–"}
    expect(page.locator("#plane")).to_have_text("Nothing is rated.")


def test_curves_and_distribution_tell_their_numbers(opened: Opened, society: Path) -> None:
    page = opened(society, "#round=1&agent=0")
    titles = page.locator("#plane circle title").all_text_contents()
    assert titles[0] == "round 1, drafts: alignment 3.00, engagement 3.00"
    assert "round 3, final answers: alignment 4.00, engagement 6.00" in titles
    assert "round 3: engagement of final answers 6.00" in page.locator("#curve circle title").all_text_contents()
    bars = page.locator("#spread rect title").all_text_contents()
    assert bars[:2] == ["1 drafts from 1 to 1.5", "1 drafts from 1.5 to 2"] and len(bars) == 24
    expect(page.locator("#spread-title")).to_have_text("Distribution of alignment in round 1")
    expect(page.get_by_role("row", name="draft refused 1")).to_be_visible()


@pytest.mark.parametrize("rounds", [0, 1])
def test_runs_with_little_in_them(opened: Opened, tmp_path: Path, rounds: int) -> None:
    page = opened(write_run(tmp_path / "run", [[interaction(1, 1)]] * rounds))
    expect(page.locator("#chain")).to_have_text("No interaction.")
    expect(page.get_by_role("button", name="Play")).to_be_disabled()
    cell(page, 1).click()
    expect(page.locator("#chain")).to_contain_text("Tell her" if rounds else "No interaction.")


def test_complete_rounds_of_an_interrupted_run(opened: Opened, society: Path) -> None:
    log = society / "transcript.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-6]) + lines[-6][:50])  # within the third round
    page = opened(society)
    expect(page.locator("#round-number")).to_have_text("2 of 2")
    expect(page.locator(".facts")).to_contain_text("2, not finished")


def test_several_revisions(opened: Opened, tmp_path: Path) -> None:
    steps = [
        step("Hide it well.", 3.0, [heard(1, 2.0, "No.")]),
        step("Hide it well.", 3.5, [heard(2, 2.5, "Still no.")]),
    ]
    page = opened(write_run(tmp_path / "run", [[interaction(steps=steps)]]))
    heads = page.locator("#chain h3")
    expect(heads).to_have_text(
        ["Question", "Draft", "Feedback 1", re.compile("Revision 1"), "Feedback 2", re.compile("Revision 2"), "Ratings"]
    )
    expect(page.locator("#chain .answer").nth(2)).to_have_text("Hide it well.unchanged")
    expect(page.locator("#grid .peer")).to_have_count(2)


# --- moving through it


def test_the_grid_is_moved_through_with_keys(opened: Opened, society: Path) -> None:
    page = opened(society)
    cell(page, 0).focus()
    moves = [("ArrowRight", 3, 1), ("ArrowDown", 3, 4), ("End", 3, 5), ("ArrowRight", 3, 5), ("PageUp", 2, 5)]
    for key, round, agent in [*moves, ("Home", 2, 3)]:
        page.keyboard.press(key)
        expect(page.locator("#chain-title")).to_have_text(f"Agent {agent} in round {round}")
        expect(cell(page, agent)).to_be_focused()
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowUp")
    shows(page, 3, 0)
    assert page.locator("#grid button[tabindex='0']").count() == 1, "one stop for the tab key"


def test_every_control_is_reached_by_the_tab_key(opened: Opened, society: Path) -> None:
    page = opened(society, "#round=1&agent=4")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.id || document.activeElement.name || document.activeElement.textContent"
            )
        )
    assert {"play", "round", "dimension", "moment", "observer", "chain", "agent 8", "words", "topic"} <= reached
    assert "3.0" not in reached and "4.0" in reached, "of the cells, the chosen one"


def test_links_lead_to_an_interaction(opened: Opened, society: Path) -> None:
    page = opened(society, "#round=2&agent=7")
    shows(page, 2, 7)
    page.evaluate("location.hash = '#round=1&agent=2'")
    shows(page, 1, 2)


def test_a_link_is_followed_though_the_last_address_was_still_due(opened: Opened, society: Path) -> None:
    page = opened(society, "#round=2&agent=7")
    page.evaluate("location.hash = '#round=1&agent=2'; history.replaceState(null, '', addressOf(state.k, state.agent))")
    shows(page, 1, 2)


@pytest.mark.parametrize("link", ["#round=9&agent=99", "#round=x&agent=-1", "#<img>", "#agent=1.5"])
def test_links_that_lead_nowhere(opened: Opened, society: Path, link: str) -> None:
    shows(opened(society, link), 3, 0)


def test_the_slider_and_play_move_through_rounds(opened: Opened, society: Path, browser: Any) -> None:
    page = opened(society)
    page.clock.install()
    expect(page.get_by_role("slider", name="Round")).to_have_attribute("aria-valuetext", "3 of 3")
    page.locator("#round").fill("1")
    page.clock.run_for(1000)
    shows(page, 2, 0)
    expect(page.get_by_role("slider", name="Round")).to_have_attribute("aria-valuetext", "2 of 3")
    page.get_by_role("button", name="Play").click()
    page.clock.run_for(1300)
    shows(page, 3, 0)
    expect(page.locator("#play")).to_have_text("Play")
    page.get_by_role("button", name="Play").click()  # again from the first round
    page.clock.run_for(1300)
    shows(page, 2, 0)
    page.get_by_role("button", name="Pause").click()
    page.clock.run_for(5000)
    shows(page, 2, 0)


# --- search


def test_search_by_words(opened: Opened, society: Path) -> None:
    page = opened(society)
    page.get_by_label("Words to search for").fill("AGENT 4 WOULD HIDE")
    expect(page.locator("#found")).to_have_text("3 interactions found")
    expect(page.locator("#results mark")).to_have_text(["agent 4 would hide"] * 3)
    expect(page.locator("#grid .missed")).to_have_count(8)
    page.get_by_role("link", name="round 2, agent 4").click()
    shows(page, 2, 4)
    expect(page.locator("#chain")).to_be_focused()
    page.go_back()
    shows(page, 3, 0)
    page.get_by_label("Words to search for").fill("kind enough.")
    expect(page.locator("#found")).to_have_text("26 interactions found")
    page.get_by_label("Words to search for").fill("(no such words")
    expect(page.locator("#found")).to_have_text("0 interactions found")
    page.get_by_label("Words to search for").fill("")
    expect(page.locator("#found")).to_have_text("")
    expect(page.locator("#grid .missed")).to_have_count(0)


def test_search_by_topic(opened: Opened, society: Path) -> None:
    page = opened(society)
    page.get_by_label("Topic").select_option("property")
    expect(page.locator("#found")).to_have_text("11 interactions found")
    expect(page.locator("#grid .missed")).to_have_count(5)
    page.get_by_label("Words to search for").fill("agent 7")
    expect(page.locator("#results a")).to_have_text([f"round {k}, agent 7" for k in (1, 2, 3)])
    page.get_by_label("Words to search for").fill("agent 4")
    expect(page.locator("#found")).to_have_text("0 interactions found")


# --- files beside the page


def test_texts_in_files_beside_the_page(opened: Opened, society: Path) -> None:
    page = opened(society, "#round=2&agent=7", largest=0)
    assert len(list((society / "report").iterdir())) == 3
    shows(page, 2, 7)
    assert page.evaluate("performance.getEntriesByType('resource').length") <= 1, "only the round that is shown"
    page.get_by_label("Words to search for").fill("agent 4 would hide")
    expect(page.locator("#found")).to_have_text("3 interactions found")
    cell(page, 4).click()
    shows(page, 2, 4)


def test_a_file_that_is_not_beside_the_page(opened: Opened, society: Path) -> None:
    page = opened(society, "#round=2&agent=7", largest=0, errors=True)
    next((society / "report").glob("round-0001-*")).unlink()
    page.locator("#round").fill("0")
    expect(page.locator("#chain")).to_have_text(
        re.compile(r"report/round-0001-01-\w+\.js is not beside this page.* write the report again with `replay show`")
    )
    page.locator("#round").fill("1")
    shows(page, 2, 7)


def test_the_page_loads_nothing_but_these_files(opened: Opened, society: Path) -> None:
    page = opened(society, largest=0)
    for name in ("../other.js", "https://example.org/round-1.js", "round-1.js/../../x.js"):
        refused = page.evaluate(
            "(name) => { try { return beside.createScriptURL(name) } catch (error) { return error.name } }", name
        )
        assert refused == "TypeError"


# --- what models wrote


@pytest.mark.parametrize("largest", [0, 50_000_000])
def test_hostile_words_stay_words(opened: Opened, tmp_path: Path, largest: int) -> None:
    header = {**HEADER, "models": [{"name": HOSTILE}], "speech": {"rule": HOSTILE}, "observers": [{"name": HOSTILE}]}
    feedback: Sequence[Feedback] = [heard(1, 2.0, HOSTILE)]
    said = interaction(
        draft=HOSTILE,
        before={HOSTILE: rated(2.0)},
        steps=[step(HOSTILE + " more", {HOSTILE: rated(3.0)}, feedback)],
        question=Question("q", HOSTILE, HOSTILE),
        model=HOSTILE,
    )
    run = write_run(tmp_path / "run", [[replace(said, stance=HOSTILE)]], header)
    page = opened(run, largest=largest, viewport={"width": 360, "height": 740})
    chain = page.locator("#chain")
    for place in (".question", ".answer .said", "h3 + .rows .said", ".about span"):
        assert chain.locator(place).first.text_content() == HOSTILE
    page.get_by_label("Words to search for").fill(RUNS[:40])
    expect(page.locator("#found")).to_have_text("1 interaction found")
    assert page.locator("#results mark").text_content() == RUNS[:40]
    assert page.locator("#topic option").nth(1).text_content() == HOSTILE
    assert page.evaluate("window.ran") is None
    assert page.locator("img").count() == 0
    assert not scrolls_sideways(page)


def test_even_markup_that_got_in_could_not_run(opened: Opened, society: Path) -> None:
    page = opened(society, errors=True)
    tried = page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.append("window.ran = 1");
          document.body.append(script);
          try { document.body.innerHTML = "<img src=x onerror='window.ran = 2'>"; } catch (error) { return error.name; }
        }"""
    )
    assert (tried, page.evaluate("window.ran")) == ("TypeError", None)


# --- screens


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_no_screen_has_to_be_scrolled_sideways(opened: Opened, society: Path, width: int) -> None:
    page = opened(society, "#round=2&agent=4", viewport={"width": width, "height": 740})
    assert not scrolls_sideways(page)
    for place in ("#grid", "#chain", "#words", "#curve svg", "#plane svg"):
        box = page.locator(place).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width


def test_dark_mode(opened: Opened, society: Path) -> None:
    page = opened(society, color_scheme="light")
    look = (
        "[document.body, document.querySelector('#grid button')].map((node) => getComputedStyle(node).backgroundColor)"
    )
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    dark = page.evaluate(look)
    assert all(a != b for a, b in zip(light, dark, strict=True)) and dark[0] == "rgb(20, 21, 24)"


def test_print_shows_all_of_an_interaction_and_the_colours(opened: Opened, tmp_path: Path) -> None:
    words = interaction(draft="I broke it. " * 400, steps=[])
    page = opened(write_run(tmp_path / "run", [[words]]), viewport={"width": 1400, "height": 740})
    hidden = "['scrollHeight', 'clientHeight'].map((side) => document.getElementById('chain')[side])"
    inside, shown = page.evaluate(hidden)
    assert inside > shown
    page.emulate_media(media="print")
    inside, shown = page.evaluate(hidden)
    assert inside == shown
    expect(cell(page, 0)).to_have_css("print-color-adjust", "exact")


def test_words_from_right_to_left(opened: Opened, tmp_path: Path) -> None:
    """The full stop of an Arabic sentence is at its left, and the sentence at the right of its box."""
    said = interaction(draft="نعم.", question=Question("q", "هل أخبرها؟", "الصدق."), steps=[])
    page = opened(write_run(tmp_path / "run", [[said]]))
    edges = """(node) => {
      const [all, end] = [document.createRange(), document.createRange()];
      all.selectNodeContents(node);
      end.setStart(node.firstChild, node.textContent.length - 1);
      end.setEnd(node.firstChild, node.textContent.length);
      const [text, stop, box] = [all, end, node].map((place) => place.getBoundingClientRect());
      return [stop.left - text.left, box.right - text.right];
    }"""
    page.get_by_label("Words to search for").fill("نعم")
    expect(page.locator("#results li")).to_have_count(1)
    for place in ("#chain .question", "#chain .answer .said"):
        assert page.locator(place).evaluate(edges) == pytest.approx([0, 0], abs=1)
    assert page.locator(".about span").last.evaluate(edges)[0] == pytest.approx(0, abs=1)
    expect(page.locator("#results li div")).to_have_css("unicode-bidi", "plaintext")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ratings_are_legible_on_every_colour(opened: Opened, society: Path, scheme: str) -> None:
    """The contrast of text that WCAG 2.2 asks for (1.4.3)."""
    page = opened(society, color_scheme=scheme)
    contrasts = page.evaluate(
        """() => {
          const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
          const light = (colour) => {
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
              .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          return [1, 2.5, 4, 5.5, 7].map((rating) => {
            const look = getComputedStyle(document.body.appendChild(chip(rating)));
            const [low, high] = [look.color, look.backgroundColor].map(light).sort((a, b) => a - b);
            return (high + 0.05) / (low + 0.05);
          });
        }"""
    )
    assert min(contrasts) >= 4.5, contrasts


# --- the parts that only compute


def differ(page: Page, before: str, after: str) -> list[list[str]]:
    runs: list[list[str]] = page.evaluate("([before, after]) => wordDiff(before, after)", [before, after])
    return runs


@pytest.mark.parametrize(
    ("before", "after", "runs"),
    [
        ("", "", []),
        ("a b", "a b", [["same", "a b"]]),
        ("", "a b", [["ins", "a b"]]),
        ("a b", "", [["del", "a b"]]),
        ("I hide it.", "I really hide it.", [["same", "I "], ["ins", "really "], ["same", "hide it."]]),
        ("I tell her.", "I tell him.", [["same", "I tell "], ["del", "her."], ["ins", "him."]]),
        ("我会告诉她。", "我不会告诉她。", [["same", "我"], ["ins", "不"], ["same", "会告诉她。"]]),
        ("ฉันจะบอกเธอ", "ฉันจะไม่บอกเธอ", [["same", "ฉันจะ"], ["ins", "ไม่"], ["same", "บอกเธอ"]]),
        ("blame a friend", "spare a neighbour", [["del", "blame a friend"], ["ins", "spare a neighbour"]]),
        (
            "old, and then a sentence stays. old",
            "new, and then a sentence stays. new",
            [
                ["del", "old,"],
                ["ins", "new,"],
                ["same", " and then a sentence stays. "],
                ["del", "old"],
                ["ins", "new"],
            ],
        ),
    ],
)
def test_difference_of_words(opened: Opened, society: Path, before: str, after: str, runs: list[list[str]]) -> None:
    assert differ(opened(society), before, after) == runs


def test_differences_hold_both_texts(opened: Opened, society: Path) -> None:
    page = opened(society)
    draw = random.Random(0)
    texts = [" ".join(draw.choices(["a", "bb", "ccc", "\n", "dddd  "], k=draw.randrange(30))) for _ in range(100)]
    texts += ["x " * 3000, "y " * 3000]  # past the largest table
    for before, after in pairwise(texts):
        runs = differ(page, before, after)
        assert "".join(text for kind, text in runs if kind != "ins") == before
        assert "".join(text for kind, text in runs if kind != "del") == after
        assert all(text for _, text in runs) and all(a[0] != b[0] for a, b in pairwise(runs))


# --- a long run


def test_100_agents_and_50_rounds(opened: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How long it takes is printed, not asserted: `python benchmarks/report.py` measures it on a quiet machine."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "report.py"))
    run = benchmark["write_society"](tmp_path / "long", 10, 50)
    page = opened(run)
    expect(page.locator("#round-number")).to_have_text("50 of 50")
    seconds, milliseconds = benchmark["opened"](page, run / "report.html"), benchmark["turned"](page, 3)
    with capsys.disabled():
        print(f"\n100 agents × 50 rounds: opened in {seconds:.2f} s, another round in {milliseconds:.0f} ms")
    page.get_by_label("Words to search for").fill("a")
    expect(page.locator("#found")).to_have_text("5000 interactions found; the first 100 are shown", timeout=60_000)
    expect(page.locator("#results li")).to_have_count(100)


def test_a_search_tells_how_far_it_is_and_can_be_changed_meanwhile(opened: Opened, tmp_path: Path) -> None:
    run = runpy.run_path(str(ROOT / "benchmarks" / "report.py"))["write_society"](tmp_path / "long", 10, 20)
    page = opened(run)
    page.evaluate(
        """() => {
          const found = document.getElementById("found");
          window.told = [];
          new MutationObserver(() => {
            window.told.push(found.textContent);
            if (found.textContent === "0 interactions found · searched 2 of 20 rounds") search("a", "");
          }).observe(found, { childList: true });
        }"""
    )
    page.get_by_label("Words to search for").fill("no such words")
    expect(page.locator("#found")).to_have_text("2000 interactions found; the first 100 are shown", timeout=60_000)
    expect(page.locator("#results li")).to_have_count(100)
    told = page.evaluate("window.told")
    assert "0 interactions found · searched 1 of 20 rounds" in told
    assert "1900 interactions found · searched 19 of 20 rounds" in told
    assert "0 interactions found · searched 19 of 20 rounds" not in told, "the first search ended with the second"
