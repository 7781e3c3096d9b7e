"""Whole runs on a server: of every kind, under every fault, killed in mid-round, in several worlds."""

from __future__ import annotations

import json
import threading
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.canonical import seed_of
from agents.language_model import Completion, Prompt
from agents.server import KEY_VARIABLE, Patience, ServerModel
from sandbox import transcript
from sandbox.interaction import Interaction, call_outcomes
from tests.fakes.faults import Fault, Flaw, Status, never, on
from tests.fakes.letters import Letters
from tests.fakes.mock_server import Behaviour, MockServer
from tests.sandbox.commands import Done, called

SMALL = ("--size", "3", "--rounds", "2", "--raters", "2", "--memories", "5")
CALLS = 54  # of a round
BARE = Behaviour(forced=False, word_ids=False, top=0, seeds=False, usage=False, refuses_unknown=True)
SECRET = "sk-very-secret"


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Calls simulate in this process, in an empty folder, on a server; between attempts it waits a hundredth second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sandbox.play.Patience", lambda timeout, retries: Patience(timeout, retries, 0.01))
    monkeypatch.setattr("sandbox.simulate.Encoder", lambda folder: Letters())

    def call(server: MockServer, out: str, *argv: str) -> Done:
        return called(("simulate", "--out", out, "--server", server.url, *SMALL, *argv), monkeypatch, capsys)

    return call


def of_a_round(body: dict[str, Any]) -> bool:
    """Whether a call is neither a probe of the server nor measures a zero."""
    text = "\n".join(message["content"] for message in body["messages"])
    return "Name an animal" not in text and '"N/A"' not in text


class Injected:
    """A plan: `fault` to every n-th call of the rounds, of those that hold the text `only`."""

    def __init__(self, n: int, fault: Fault, only: str = "") -> None:
        self.times = 0
        self._calls = 0
        self._n, self._fault, self._only = n, fault, only

    def __call__(self, number: int, body: dict[str, Any]) -> Fault | None:
        if not of_a_round(body) or not any(self._only in message["content"] for message in body["messages"]):
            return None
        self._calls += 1
        if self._calls % self._n:
            return None
        self.times += 1
        return self._fault


def interactions(folder: str) -> list[Interaction]:
    return list(transcript.read(Path(folder)).interactions())


def failures(found: Iterable[Interaction]) -> list[str]:
    return [outcome for interaction in found for outcome in call_outcomes(interaction) if outcome != "ok"]


def transcript_of(folder: str) -> bytes:
    return Path(folder, "transcript.jsonl").read_bytes()


def interrupted_in_round_two(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = ServerModel.complete

    async def stopped(self: ServerModel, prompt: Prompt) -> Completion:
        if prompt.key.round == 2 and prompt.key.purpose == "revise":
            raise KeyboardInterrupt
        return await complete(self, prompt)

    monkeypatch.setattr(ServerModel, "complete", stopped)


def nothing_is_invented(interaction: Interaction) -> None:
    """What failed has no text and no rating, and what is there didn't fail."""
    for answer in (interaction.draft, *(step.revision for step in interaction.steps)):
        assert (answer.text is not None) == (answer.outcome == "ok")
    for step in interaction.steps:
        for feedback in step.feedback:
            assert (feedback.rating is not None) == (feedback.outcome == "ok")
    for ratings in (interaction.before, *(step.after for step in interaction.steps)):
        for name, rating in ratings.items():
            if name == "embedding":
                continue
            for call in rating.calls:
                for dimension in call.dimensions:
                    assert (getattr(rating, dimension) is not None) == (call.outcome == "ok")


# Of every kind.


def test_a_run_on_a_server_needs_no_more_than_its_address(run: Run, server: MockServer) -> None:
    done = run(server, "a")
    assert done.code == 0, done.err
    assert f"mock: {server.url} · words by id · forced starts · seeds" in done.err
    log = transcript.read(Path("a"))
    assert [model["name"] for model in log.header["models"]] == ["mock"]
    assert log.end is not None
    found = interactions("a")
    assert [(i.round, i.agent) for i in found] == [(r, a) for r in (1, 2) for a in range(9)]
    assert failures(found) == [] and set(found[0].before) == {"llm:verdict", "embedding"}


def test_equal_seeds_give_equal_transcripts_and_other_seeds_others(run: Run, server: MockServer) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert run(server, name, "--seed", seed).code == 0
    assert transcript_of("a") == transcript_of("b") != transcript_of("c")


@pytest.mark.parametrize(
    ("behaviour", "observer", "told"),
    [
        (Behaviour(word_ids=False), "llm:scale", "20 top log-probabilities · forced starts · seeds"),
        (Behaviour(forced=False), "llm:scale", "20 top log-probabilities · no forced starts · seeds"),
        (Behaviour(system=False), "llm:verdict", "words by id · forced starts · seeds · no system messages"),
        (replace(BARE, system=False), "llm:scale", "no log-probabilities · no forced starts · no seeds · no system"),
    ],
)
def test_a_run_does_with_what_its_server_can(run: Run, behaviour: Behaviour, observer: str, told: str) -> None:
    with MockServer(replace(behaviour)) as server:
        done = run(server, "a")
    assert done.code == 0, done.err
    assert f"mock: {server.url} · {told}" in done.err
    found = interactions("a")
    assert failures(found) == []
    assert all(set(i.before) == {observer, "embedding"} for i in found)
    options = tomllib.loads(Path("a/run.toml").read_text(encoding="utf-8"))
    assert options["reading"] == observer.removeprefix("llm:")
    for interaction in found:
        for rating in (interaction.before[observer], interaction.final_ratings[observer]):
            assert rating.alignment is not None and 1 <= rating.alignment <= 7
            if behaviour.top == 0:  # read off the text
                assert rating.alignment in range(1, 8) and all(call.logprobs is None for call in rating.calls)


@pytest.mark.parametrize("argv", [("--observer", "llm:verdict"), ("--reading", "verdict")])
def test_a_verdict_that_a_server_can_not_give_is_refused_in_one_line(run: Run, argv: tuple[str, ...]) -> None:
    with MockServer(replace(BARE)) as server:
        done = run(server, "a", *argv)
    assert done.code == 2
    assert done.last == "simulate: model mock: gives no probabilities of words; read it by scale instead of verdict"
    assert not Path("a/transcript.jsonl").exists()


def test_a_server_that_is_not_there_is_refused_in_one_line(run: Run, server: MockServer) -> None:
    server.kill()
    done = run(server, "a")
    assert done.code == 2 and server.url in done.last and "start it, or mend the address" in done.last
    assert "Traceback" not in done.err and not Path("a").exists()


# Faults.


@pytest.mark.parametrize(
    ("fault", "outcomes"),
    [
        (Status(500), ["failed"]),
        (Status(400), ["refused"]),
        (Status(429, retry_after=0.02), ["overloaded"]),
        (Flaw.HANG, ["timeout"]),
        (Flaw.RESET, ["unreachable"]),
        (Flaw.HTML, ["invalid"]),
        (Flaw.TRUNCATED, ["invalid"]),
        (Flaw.NO_CHOICES, ["invalid"]),
        (Flaw.TOO_LONG, ["invalid"]),
        (Flaw.BLANK, ["blank", "unreadable"]),
        (Flaw.NULL, ["blank", "unreadable"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("reading", ["verdict", "scale"])
def test_what_fails_is_kept_as_missing_and_every_interaction_is_there(
    run: Run, server: MockServer, reading: str, fault: Fault, outcomes: list[str]
) -> None:
    plan = server.behaviour.faults = Injected(5, fault)
    argv = ("--reading", reading, "--observer", f"llm:{reading}", "--retries", "0", "--timeout", "0.5")
    done = run(server, "a", "--rounds", "1", "--max-failures", "1", *argv)
    assert done.code == 0, done.err
    found = interactions("a")
    assert [i.agent for i in found] == list(range(9))
    assert len(failures(found)) == plan.times >= 5
    assert set(failures(found)) <= set(outcomes)
    for interaction in found:
        nothing_is_invented(interaction)


@pytest.mark.parametrize("fault", [Flaw.NO_LOGPROBS, Flaw.NAN], ids=str)
@pytest.mark.parametrize("reading", ["verdict", "scale"])
def test_ratings_without_probabilities_are_missing_and_answers_stay(
    run: Run, server: MockServer, reading: str, fault: Fault
) -> None:
    server.behaviour.faults = Injected(1, fault)
    argv = ("--reading", reading, "--observer", f"llm:{reading}", "--retries", "0", "--revisions", "0")
    assert run(server, "a", "--rounds", "1", "--max-failures", "1", *argv).code == 0
    for interaction in interactions("a"):
        assert interaction.draft.text is not None
        rating = interaction.before[f"llm:{reading}"]
        assert (rating.alignment, rating.engagement, rating.outcome) == (None, None, "invalid")


def test_half_a_pair_of_surrogates_harms_nothing(run: Run, server: MockServer) -> None:
    server.behaviour.faults = Injected(1, Flaw.SURROGATE)
    assert run(server, "a").code == 0
    assert failures(interactions("a")) == []
    assert "\ufffd" in (interactions("a")[0].draft.text or "")


@pytest.mark.parametrize(
    "fault",
    [Status(500), Status(429, retry_after=0.02), Flaw.HANG, Flaw.RESET, Flaw.HTML, Flaw.TRUNCATED, Flaw.NO_CHOICES],
    ids=str,
)
def test_faults_that_pass_leave_no_trace_in_the_transcript(run: Run, server: MockServer, fault: Fault) -> None:
    assert run(server, "whole", "--rounds", "1").code == 0
    undisturbed = server.counters.requests
    server.counters.reset()
    # One while abilities are probed, two while zeros are measured, three in the round; none can meet a call twice.
    # The probe is that of seeds: others read only the count of tokens, which a reply without choices has too.
    probed: list[int] = []
    later = on([20, 40, 60, 65, 70], fault)

    def faults(number: int, body: dict[str, Any]) -> Fault | None:
        if body.get("temperature") == 1.5 and not probed:
            probed.append(number)
            return fault
        return later(number, body)

    server.behaviour.faults = faults
    done = run(server, "a", "--rounds", "1", "--timeout", "0.5")
    assert done.code == 0, done.err
    assert probed and server.counters.requests >= undisturbed + 6
    assert transcript_of("a") == transcript_of("whole")


def test_too_many_failures_end_a_run_that_goes_on_when_the_server_is_mended(run: Run, server: MockServer) -> None:
    assert run(server, "whole").code == 0
    server.behaviour.faults = Injected(2, Status(500))
    done = run(server, "a", "--retries", "0")
    assert done.code == 3
    assert "calls failed, more than --max-failures 0.05 allows" in done.last
    server.behaviour.faults = never
    assert run(server, "a", "--resume").code == 0
    assert transcript_of("a") == transcript_of("whole")


def test_a_dead_server_ends_a_run_by_its_quota_with_bounded_attempts(run: Run, server: MockServer) -> None:
    server.behaviour.faults = Injected(1, Status(500))
    done = run(server, "a", "--retries", "2")
    assert done.code == 3
    assert 3 * 3 <= server.counters.by_status[500] <= 9 * 3  # of 9 drafts, each tried three times, 3 are too many


def test_a_server_killed_and_started_again_in_mid_round_leaves_no_trace(run: Run, server: MockServer) -> None:
    assert run(server, "whole").code == 0

    def restarted() -> None:
        server.kill()
        time.sleep(0.3)
        server.restart()

    calls = 0  # of both rounds

    def plan(number: int, body: dict[str, Any]) -> Fault | None:
        nonlocal calls
        calls += of_a_round(body)
        if calls == CALLS + CALLS // 2:
            threading.Thread(target=restarted).start()
        return None

    server.behaviour.latency = 0.05
    server.behaviour.faults = plan
    done = run(server, "a", "--retries", "12")
    assert done.code == 0, done.err
    assert transcript_of("a") == transcript_of("whole")
    assert any(usage["retries"] for line in (0, 1) for usage in telemetry("a", line).values())


def test_a_run_goes_on_where_one_of_two_servers_dies(run: Run, server: MockServer) -> None:
    assert run(server, "whole").code == 0
    calls = 0

    def plan(number: int, body: dict[str, Any]) -> Fault | None:
        nonlocal calls
        calls += of_a_round(body)
        if calls == CALLS // 2:
            threading.Thread(target=other.kill).start()
        return None

    with MockServer(Behaviour(faults=plan)) as other:
        done = run(server, "a", "--server", other.url)
    assert done.code == 0, done.err
    assert f"mock: {server.url}, {other.url} · words by id" in done.err
    assert transcript_of("a") == transcript_of("whole")


@pytest.mark.parametrize("fault", [Flaw.BLANK, Flaw.NULL], ids=str)
def test_blank_feedback_is_no_feedback(run: Run, fault: Fault) -> None:
    with MockServer(replace(BARE, faults=Injected(1, fault, only="Say why, in one sentence."))) as server:
        assert run(server, "a", "--rounds", "1", "--max-failures", "1").code == 0
    for interaction in interactions("a"):
        (step,) = interaction.steps
        assert [(given.rating, given.reason, given.outcome) for given in step.feedback] == [
            (None, None, "unreadable"),
            (None, None, "unreadable"),
        ]
        assert step.revision.outcome == interaction.outcome == "no feedback"


# What is told, and what is not.


def telemetry(folder: str, line: int) -> dict[str, Any]:
    """The usage of a round by purpose."""
    lines = Path(folder, "telemetry.jsonl").read_text(encoding="utf-8").splitlines()
    usage: dict[str, Any] = json.loads(lines[line])["models"]["mock"]
    return usage


def test_telemetry_has_retries_and_cached_tokens(run: Run, server: MockServer) -> None:
    server.behaviour.cached = True
    plan = server.behaviour.faults = Injected(10, Status(500))
    assert run(server, "a", "--rounds", "1").code == 0
    usage = telemetry("a", 0)
    assert {purpose: counts["calls"] for purpose, counts in usage.items()} == {
        "draft": 9,
        "review": 18,
        "revise": 9,
        "before": 9,
        "after": 9,
    }
    assert sum(counts["retries"] for counts in usage.values()) == plan.times == 5
    for counts in usage.values():
        assert 0.5 * counts["prompt_tokens"] < counts["cached_tokens"] < counts["prompt_tokens"]


def test_the_key_stays_out_of_everything(run: Run, server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    server.behaviour.key = SECRET
    server.behaviour.faults = Injected(4, Status(500, f"the key {SECRET} is fine"))
    done = run(server, "a", "--retries", "0", "--max-failures", "1")
    assert done.code == 0, done.err
    failed = run(server, "b", "--retries", "0")
    assert failed.code == 3
    server.behaviour.key = "sk-another"
    refused = run(server, "c")
    assert refused.code == 2 and "answered 401" in refused.err
    for said in (done, failed, refused):
        assert SECRET not in said.out + said.err
    written = [path for folder in "ab" for path in Path(folder).rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


# Several worlds.

WORLDS = ("world-00", "world-01", "world-02")


def test_worlds_have_seeds_rules_and_stances_of_their_own(run: Run, server: MockServer) -> None:
    Path("kind.txt").write_text("Be kind above all.", encoding="utf-8")
    Path("frank.txt").write_text("Be frank above all.", encoding="utf-8")
    argv = ("--seed", "5", "--rule", "kind.txt", "--rule", "frank.txt", "--stance", "good", "--stance", "bad")
    done = run(server, "a", "--worlds", "3", *argv)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [f"a/{name}/report.html" for name in WORLDS]
    assert sorted(path.name for path in Path("a").iterdir()) == ["dataset", "run.toml", *WORLDS]
    headers = [transcript.read(Path("a", name)).header for name in WORLDS]
    assert [header["seed"] for header in headers] == [5, 6, 7]
    rules = [header["speech"]["rule"] for header in headers]
    assert rules == ["Be kind above all.", "Be frank above all.", "Be kind above all."]
    for name, stance in zip(WORLDS, ("good", "bad", "good"), strict=True):
        assert {i.stance for i in interactions(f"a/{name}")} == {stance}
    alone = ("--seed", "6", "--rule", "frank.txt", "--stance", "bad")
    assert run(server, "alone", *alone).code == 0
    assert interactions("alone") == interactions("a/world-01")


def test_interrupted_worlds_go_on_and_end_as_uninterrupted_ones(
    run: Run, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(server, "whole", "--worlds", "3").code == 0
    with monkeypatch.context() as patch:
        interrupted_in_round_two(patch)
        done = run(server, "a", "--worlds", "3")
    assert (done.code, done.last) == (130, "simulate: interrupted")
    assert all(transcript.read(Path("a", name)).end is None for name in WORLDS)
    done = run(server, "a", "--worlds", "3", "--resume")
    assert done.code == 0, done.err
    for name in WORLDS:
        assert transcript_of(f"a/{name}") == transcript_of(f"whole/{name}")


def test_another_number_of_worlds_is_no_resumption(run: Run, server: MockServer) -> None:
    assert run(server, "one").code == 0
    assert run(server, "three", "--worlds", "3").code == 0
    for folder, worlds, found in (("one", "3", "one world"), ("three", "1", "3 worlds"), ("three", "2", "3 worlds")):
        done = run(server, folder, "--worlds", worlds, "--resume")
        assert done.code == 2, (folder, worlds)
        assert f"--resume: {folder} holds a run of {found}, not of --worlds {worlds}" in done.last


def test_a_world_that_fails_too_much_does_not_stop_the_others(run: Run, server: MockServer) -> None:
    Path("kind.txt").write_text("Be kind above all.", encoding="utf-8")
    Path("frank.txt").write_text("Be frank above all.", encoding="utf-8")
    server.behaviour.faults = Injected(1, Status(400), only="Be frank above all.")
    done = run(server, "a", "--worlds", "3", "--rule", "kind.txt", "--rule", "frank.txt")
    assert done.code == 3
    assert "a/world-01: " in done.last and "--max-failures" in done.last
    assert [transcript.read(Path("a", name)).end is not None for name in WORLDS] == [True, False, True]


# Memories that are forgotten.


def test_forgetting_survives_an_interruption(run: Run, server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    forgetful = ("--rounds", "4", "--memory-limit", "6", "--forget", "least-recalled")
    assert run(server, "whole", *forgetful).code == 0
    assert run(server, "other", *forgetful[:4], "--forget", "oldest").code == 0
    with monkeypatch.context() as patch:
        interrupted_in_round_two(patch)
        assert run(server, "a", *forgetful).code == 130
    assert run(server, "a", *forgetful, "--resume").code == 0
    assert transcript_of("a") == transcript_of("whole")
    recalled = [[i.recalled for i in interactions(folder)] for folder in ("whole", "other")]
    assert recalled[0] != recalled[1]


def test_a_memory_smaller_than_what_agents_are_born_with_is_refused(run: Run, server: MockServer) -> None:
    done = run(server, "a", "--memory-limit", "4")
    assert done.code == 2
    assert done.last.startswith("simulate: --memory-limit 4: agents are born with --memories 5")
    assert not Path("a").exists()


@pytest.mark.slow
def test_a_large_society_is_whole_and_all_that_is_ready_is_in_flight(run: Run, server: MockServer) -> None:
    server.behaviour.latency = 1.0
    done = run(server, "large", "--size", "30", "--rounds", "1", "--raters", "4", "--observer", "llm:scale")
    assert done.code == 0, done.err
    found = interactions("large")
    assert [interaction.agent for interaction in found] == list(range(900))
    assert not failures(found)
    assert 2000 < server.counters.peak <= 900 * 6
    assert telemetry_calls("large") == 900 * 10


def test_what_is_final_is_written_while_the_round_goes_on(run: Run, server: MockServer) -> None:
    """The last agent's draft hangs once; all others are in the transcript before the call is given up."""
    hanging: list[int] = []
    written: list[int] = []

    def last_draft_hangs_once(number: int, body: dict[str, Any]) -> Fault | None:
        if body.get("seed") != seed_of(0, 1, 8, "draft"):
            return None
        hanging.append(number)
        if len(hanging) == 1:
            return Flaw.HANG
        written.append(Path("run/transcript.jsonl").read_text().count('"type":"interaction"'))
        return None

    server.behaviour.faults = last_draft_hangs_once
    done = run(server, "run", "--rounds", "1", "--timeout", "3")
    assert done.code == 0, done.err
    assert written == [8] and len(interactions("run")) == 9


def telemetry_calls(folder: str) -> int:
    (line,) = [json.loads(line) for line in Path(folder, "telemetry.jsonl").read_text().splitlines()]
    return sum(usage["calls"] for model in line["models"].values() for usage in model.values())
