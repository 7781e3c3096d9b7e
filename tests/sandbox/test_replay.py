"""Runs on a server that is gone by the time they are played again: verified, falsified, asked again, branched off."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.server import Patience
from sandbox import chain, transcript
from sandbox.chain import chained
from tests.fakes.faults import Status
from tests.fakes.letters import Letters
from tests.fakes.mock_server import Behaviour, MockServer
from tests.sandbox.commands import Done, called

SMALL = ("--size", "3", "--rounds", "2", "--raters", "2", "--memories", "5", "--share", "2")
AGENTS = 9
STOPPED = {"type": "end", "stopped": "plateau"}
BARE = Behaviour(forced=False, word_ids=False, top=0, seeds=False)


Command = Callable[..., Done]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Calls `simulate …` or `replay …` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sandbox.play.Patience", lambda timeout, retries: Patience(timeout, retries, 0.01))
    for module in ("sandbox.simulate", "sandbox.verify"):
        monkeypatch.setattr(f"{module}.Encoder", lambda folder: Letters())

    def call(*argv: str) -> Done:
        return called(argv, monkeypatch, capsys)

    return call


@pytest.fixture
def simulate(command: Command) -> Command:
    """Plays a small run against a server of its own, which then ends."""

    def call(out: str, *argv: str, behaviour: Behaviour | None = None) -> Done:
        with MockServer(behaviour or Behaviour()) as server:
            return command("simulate", "--out", out, "--server", server.url, *SMALL, *argv)

    return call


def fails_now_and_then(number: int, body: dict[str, Any]) -> Status | None:
    return Status(400) if number > 80 and number % 9 == 0 else None


def lines_of(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(run) / transcript.FILE).read_text().splitlines()]


def chain_of(lines: list[dict[str, Any]]) -> str:
    """The chain value of the last of these lines."""
    last = ""
    for body in lines:
        _, last = chained({name: value for name, value in body.items() if name != "chain"}, last)
    return last


def write_chained(run: str, lines: list[dict[str, Any]]) -> None:
    """A transcript whose chain is right, whatever its lines hold."""
    Path(run).mkdir(exist_ok=True)
    last = ""
    with (Path(run) / transcript.FILE).open("wb") as file:
        for body in lines:
            line, last = chained({name: value for name, value in body.items() if name != "chain"}, last)
            file.write(line)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--revisions", "2", "--observer", "llm:scale", "--observer", "embedding", "--reading", "scale"),
        ("--revisions", "0", "--observer", "embedding", "--memories", "0"),
        ("--until-plateau", "--plateau-probes", "2", "--plateau-gain", "100", "--plateau-patience", "1"),
        ("--memory-limit", "6", "--forget", "least-recalled", "--rounds", "4", "--stance", "half"),
        ("--recall-threshold", "0.99", "--radius", "1", "--seed", "7", "--questions", "heldout"),
    ],
)
def test_what_happened_is_verified(simulate: Command, command: Command, options: tuple[str, ...]) -> None:
    assert simulate("run", *options).code == 0
    rounds = len(transcript.read("run").rounds())
    assert command("replay", "verify", "run") == Done(0, f"verified {AGENTS * rounds} interactions\n", "")


@pytest.mark.parametrize(
    "behaviour", [Behaviour(faults=fails_now_and_then), BARE], ids=["failed calls", "no probabilities"]
)
def test_what_failed_is_verified_too(simulate: Command, command: Command, behaviour: Behaviour) -> None:
    done = simulate("run", "--max-failures", "1", "--retries", "0", behaviour=behaviour)
    assert done.code == 0
    if behaviour is not BARE:
        assert sum(row["failures"] for row in transcript.read("run").rounds()) > 5
    assert command("replay", "verify", "run").out == f"verified {2 * AGENTS} interactions\n"


def test_a_run_that_broke_off_is_verified_as_far_as_it_goes(simulate: Command, command: Command) -> None:
    simulate("run")
    lines = lines_of("run")
    write_chained("part", lines[: 1 + AGENTS + 1 + 4])
    assert command("replay", "verify", "part").out == f"verified {AGENTS + 4} interactions\n"
    with (Path("part") / transcript.FILE).open("ab") as file:
        file.write(b'{"after"')
    done = command("replay", "verify", "part")
    assert done.code == 1 and "line 16 is torn: go on with --resume" in done.err


def test_every_world_is_verified(simulate: Command, command: Command) -> None:
    simulate("run", "--worlds", "2")
    told = [f"verified {2 * AGENTS} interactions of run/world-0{world}\n" for world in (0, 1)]
    assert command("replay", "verify", "run").out == "".join(told)
    shutil.rmtree("run/world-01")
    assert command("replay", "verify", "run").err == "replay verify: run was a run of 2 worlds, and holds 1\n"


def end_of(rounds: int) -> dict[str, Any]:
    return {"type": "end", "rounds": rounds, "stopped": "rounds"}


def falsified(*path: str | int, by: float = 1) -> Callable[[list[dict[str, Any]]], None]:
    """Changes the text at a path of the lines, or adds to the number."""

    def change(lines: list[dict[str, Any]]) -> None:
        holder: Any = reduce(lambda value, step: value[step], path[:-1], lines)
        value = holder[path[-1]]
        holder[path[-1]] = f"{value} Really." if isinstance(value, str) else value + by

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (falsified(1, "draft", "text"), "line 2: before.embedding.alignment: expected "),
        (falsified(1, "feedback", 0, "reason"), "line 2: revision.digest: expected "),
        (falsified(2, "feedback", 1, "rating"), "line 3: feedback[1].rating: expected "),
        (falsified(2, "feedback", 1, "peer"), "line 3: feedback[1].peer: expected "),
        (falsified(3, "after", "embedding", "engagement"), "line 4: after.embedding.engagement: expected "),
        (
            falsified(3, "after", "llm:verdict", "calls", 0, "logprobs", 0),
            "line 4: after.llm:verdict.calls[0].label_mass:",
        ),
        (falsified(4, "recalled", 0, "answer"), "line 5: recalled[0].answer: expected "),
        (falsified(5, "question", "id"), "line 6: question.id: expected "),
        (falsified(6, "model"), 'line 7: model: expected "mock", found "mock Really."'),
        (falsified(7, "revision", "text"), "line 8: after.embedding.alignment: expected "),
        (falsified(10, "calls"), "line 11: calls: expected 54, found 55"),
        (falsified(10, "alignment", "after"), "line 11: alignment.after: expected "),
        (falsified(0, "seed"), "line 2: recalled[0].question: expected "),
        (falsified(0, "speech", "rule"), "line 2: revision.digest: expected "),
        (falsified(0, "prompts"), "line 1: prompts: expected "),
        (falsified(0, "encoder"), 'line 1: encoder: expected "letters", found "letters Really."'),
        (falsified(0, "observers", 1, "lean"), "line 1: observers[1].lean: expected 0.02, found 1.02"),
        (lambda lines: lines.pop(3), "line 4: agent: expected 2, found 3"),
        (lambda lines: lines.pop(9), "line 10: interactions: expected 9, found 8"),
        (lambda lines: lines.insert(9, lines[9]), "line 11: agent: expected nothing, found 8"),
        (lambda lines: lines[-1].update(rounds=3), "line 22: rounds: expected 2, found 3"),
        (lambda lines: lines[1]["recalled"].pop(), "line 2: recalled["),
        (lambda lines: lines[1].update(mood="good"), 'line 2: mood: expected nothing, found "good"'),
        (
            lambda lines: lines[1]["feedback"][0].update(logprobs=[]),
            "line 2: feedback[0].logprobs: expected null, found []",
        ),
        (falsified(1, "feedback", 0, "logprobs", 0, by=800), "line 2: feedback[0].logprobs: expected null, found ["),
        (lambda lines: lines[1].update(agent=False), "line 2: agent: expected 0, found false"),
        (lambda lines: lines[10].update(calls=54.00005), "line 11: calls: expected 54, found 54.00005"),
        (lambda lines: lines[1]["draft"].update(finish="<b>"), "line 2: draft.text: expected null, found "),
        (lambda lines: lines[0]["observers"][0].update(name="judge"), "line 1: observers[0]: expected nothing"),
        (lambda lines: lines[0]["observers"][0].update(words="0"), "line 1: observers[0].words: expected "),
        (lambda lines: lines.insert(5, {**lines[0], "seed": 7}), 'line 6: type: expected nothing, found "header"'),
        (lambda lines: lines.append(lines[-1]), 'line 23: type: expected nothing, found "end"'),
        (lambda lines: lines.insert(11, end_of(1)), 'line 13: type: expected nothing, found "interaction"'),
        (lambda lines: lines.insert(-1, lines[3]), "line 22: round: expected 3, found 1"),
        (lambda lines: lines[-1].update(stopped="plateau"), 'line 22: stopped: expected "rounds", found "plateau"'),
        (lambda lines: lines[-1].update(by="me"), 'line 22: by: expected nothing, found "me"'),
    ],
)
def test_what_did_not_happen_is_found(
    simulate: Command, command: Command, change: Callable[[list[dict[str, Any]]], None], told: str
) -> None:
    simulate("run")
    lines = lines_of("run")
    change(lines)
    write_chained("false", lines)
    done = command("replay", "verify", "false")
    assert done.code == 1 and done.out == ""
    assert f"false/transcript.jsonl {told}" in done.err and done.err.count("\n") == 1


def test_a_failure_is_not_called_a_success(simulate: Command, command: Command) -> None:
    simulate("run", "--max-failures", "1", "--retries", "0", behaviour=Behaviour(faults=fails_now_and_then))
    written = (Path("run") / transcript.FILE).read_text()
    assert '"outcome":"refused"' in written
    write_chained("false", [json.loads(line.replace('"refused"', '"ok"')) for line in written.splitlines()])
    assert 'outcome: expected "unrecorded", found "ok"' in command("replay", "verify", "false").err


def test_what_stands_before_an_end_line_is_nothing_that_was_said(simulate: Command) -> None:
    simulate("run")
    lines = lines_of("run")
    write_chained("false", [*lines[:11], lines[3], end_of(1), *lines[11:]])
    assert list(transcript.read("false").interactions()) == list(transcript.read("run").interactions())


def test_a_fork_of_another_run_than_it_says_is_found(simulate: Command, command: Command) -> None:
    with MockServer() as server:
        command("simulate", "--out", "run", "--server", server.url, *SMALL)
        command("replay", "fork", "run", "--at", "1", "--out", "fork", "--seed", "4", "--rounds", "3")
        command("replay", "fork", "fork", "--at", "2", "--out", "again", "--rounds", "3")

    def told(change: Callable[[dict[str, Any]], Any]) -> str:
        lines = lines_of("again")
        change(lines[0])
        write_chained("false", lines)
        done = command("replay", "verify", "false")
        assert done.code in (1, 2) and done.err.count("\n") == 1
        return done.err

    assert "line 1: parent.chain: expected " in told(lambda header: header["parent"].update(chain="0"))
    assert "line 1: parent.chain: expected " in told(lambda header: header["parent"].update(round=3))
    assert "line 1: parent.chain: expected " in told(lambda header: header["parent"]["header"].update(seed=5))
    assert "parent.round: input should be a valid integer" in told(lambda header: header["parent"].update(round="2"))
    assert "line 1: stances.pairs.good[" in told(lambda header: header["stances"]["pairs"]["good"].pop())
    assert "line 1: world.memories: expected 5, found 6" in told(lambda header: header["world"].update(memories=6))

    def rechained(header: dict[str, Any]) -> None:
        """The eldest is another; only what its own child says of it still tells."""
        header["parent"]["header"]["parent"]["header"]["models"][0]["digest"] = "another"
        header["parent"]["chain"] = chain_of([header["parent"]["header"], *lines_of("again")[1:21]])

    assert "line 1: parent.header.parent.chain: expected " in told(rechained)


def test_any_false_word_is_found(simulate: Command, command: Command) -> None:
    """In whatever text of an interaction; how a reply ended is known from nothing else."""
    simulate("run")
    lines = lines_of("run")

    def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
        if isinstance(value, dict):
            return [found for key, inner in value.items() for found in paths(inner, (*path, key))]
        if isinstance(value, list):
            return [found for key, inner in enumerate(value) for found in paths(inner, (*path, key))]
        return [path] if isinstance(value, str) and path[-1] not in ("finish", "chain", "type") else []

    texts = [path for number in range(1, 10) for path in paths(lines[number], (number,))]

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(texts))
    def search(path: tuple[str | int, ...]) -> None:
        false = copy.deepcopy(lines)
        falsified(*path)(false)
        write_chained("false", false)
        assert command("replay", "verify", "false").code in (1, 2)

    search()


def test_a_broken_chain_is_named_before_anything_is_played(simulate: Command, command: Command) -> None:
    simulate("run")
    file = Path("run") / transcript.FILE
    file.write_bytes(file.read_bytes().replace(b'"round":2', b'"round":3', 1))
    done = command("replay", "verify", "run")
    assert done.code == 1 and "line 12 does not verify" in done.err


def test_what_is_no_run_is_one_line(simulate: Command, command: Command) -> None:
    simulate("run")
    lines = lines_of("run")
    write_chained("headless", [{name: value for name, value in lines[0].items() if name != "stances"}, *lines[1:]])
    done = command("replay", "verify", "headless")
    assert done.code == 2 and "line 1 is no header that a run can be played from (stances: field required)" in done.err
    del lines[2]["draft"]
    write_chained("draftless", lines)
    done = command("replay", "verify", "draftless")
    assert done.code == 2 and "line 3 is no interaction (draft: field required)" in done.err


def test_a_run_of_an_older_schema_is_refused_by_name(command: Command) -> None:
    write_chained("old", [{"type": "header", "schema": 2, "seed": 0, "observers": []}])
    done = command("replay", "verify", "old")
    assert done.code == 2 and "old/transcript.jsonl has transcript schema 2" in done.err


def test_its_models_are_asked_again(command: Command) -> None:
    with MockServer() as server:
        command("simulate", "--out", "run", "--server", server.url, *SMALL)
        done = command("replay", "verify", "run", "--model")
    assert done.code == 0 and done.out.endswith(f"verified {2 * AGENTS} interactions\n")
    assert "108 of 108 replies identical" in done.out
    with MockServer(Behaviour(seeds=False)) as other:
        done = command("replay", "verify", "run", "--model", "--server", other.url)
    assert done.code == 0 and " of 108 replies identical" in done.out and "108 of 108" not in done.out


def test_other_models_are_not_asked(command: Command) -> None:
    with MockServer() as server:
        command("simulate", "--out", "run", "--server", server.url, *SMALL)
        lines = lines_of("run")
        lines[0]["models"][0]["digest"] = "another"
        write_chained("run", lines)
        done = command("replay", "verify", "run", "--model")
    assert done.code == 1 and 'line 1: models[0].digest: expected "' in done.err and 'found "another"' in done.err
    (Path("run") / "run.toml").unlink()
    assert command("replay", "verify", "run", "--model").code == 2


def test_a_fork_that_changes_nothing_goes_on_as_its_parent(simulate: Command, command: Command) -> None:
    with MockServer() as server:
        command("simulate", "--out", "run", "--server", server.url, *SMALL, "--rounds", "3")
        done = command("replay", "fork", "run", "--at", "1", "--out", "fork")
    assert done.code == 0 and done.out == "fork/report.html\n"
    whole, fork = lines_of("run"), lines_of("fork")
    chain = whole[1 + AGENTS]["chain"]
    assert {name: fork[0]["parent"][name] for name in ("run", "round", "chain")} == {
        "run": "run",
        "round": 1,
        "chain": chain,
    }
    for lines in (whole, fork):
        for line in lines:
            del line["chain"]
    assert fork[1:] == whole[1:]
    assert command("replay", "verify", "fork").out == f"verified {3 * AGENTS} interactions\n"


def test_a_fork_goes_on_under_other_settings(simulate: Command, command: Command) -> None:
    Path("rule.txt").write_text("Be brief.")
    simulate("run", "--memory-limit", "6", "--forget", "least-recalled")
    with MockServer(Behaviour(models=("other",))) as server:
        changed = ("--rule", "rule.txt", "--seed", "3", "--rounds", "4", "--observer", "embedding", "--raters", "1")
        to = ("--server", server.url, "--model", "other")
        assert command("replay", "fork", "run", "--at", "2", "--out", "fork", *changed, *to).code == 0
        assert command("replay", "fork", "fork", "--at", "3", "--out", "again", "--seed", "9").code == 0
    said = list(transcript.read("fork").interactions())
    assert {one.model for one in said if one.round <= 2} == {"mock"} and {one.round for one in said} == {1, 2, 3, 4}
    assert {one.model for one in said if one.round > 2} == {"other"}
    assert {len(one.steps[0].feedback) for one in said if one.round > 2} == {1}
    told = f"verified {4 * AGENTS} interactions\n"
    assert command("replay", "verify", "fork").out == told and command("replay", "verify", "again").out == told
    parent = transcript.read("again").header["parent"]
    assert (parent["run"], parent["round"], parent["header"]["parent"]["run"]) == ("fork", 3, "run")


def test_what_a_run_was_asked_is_taken_from_its_transcript(command: Command, tmp_path: Path) -> None:
    """Its files may be others by now, or not be here at all."""
    questions, rule = Path("questions.txt"), Path("rule.txt")
    questions.write_text("I broke her cup. Do I tell her?\nThere is a wallet on the bus. What now?\n")
    rule.write_text("Be brief.")
    with MockServer() as server:
        files = ("--questions", "questions.txt", "--rule", "rule.txt")
        command("simulate", "--out", "run", "--server", server.url, *SMALL, *files)
        questions.write_text("Something else?\n")
        rule.unlink()
        assert command("replay", "fork", "run", "--at", "1", "--rounds", "3", "--out", "fork").code == 0
        assert command("simulate", "--resume", "--out", "run", "--rounds", "3").code == 0
        assert command("replay", "fork", "run", "--at", "1", "--questions", "questions.txt", "--out", "asked").code == 0
    whole, fork, asked = (transcript.read(run).header for run in ("run", "fork", "asked"))
    assert whole["questions"] == fork["questions"] and whole["speech"]["rule"] == fork["speech"]["rule"] == "Be brief."
    # named as before, it is not read again; a file of another name is
    assert asked["questions"] == whole["questions"]
    questions.rename("others.txt")
    with MockServer() as server:
        to = ("--server", server.url, "--questions", "others.txt")
        assert command("replay", "fork", "run", "--at", "1", "--out", "others", *to).code == 0
    assert [question["text"] for question in transcript.read("others").header["questions"]] == ["Something else?"]


def test_a_fork_looks_for_a_plateau_of_its_own(simulate: Command, command: Command) -> None:
    plateau = ("--until-plateau", "--plateau-probes", "2", "--plateau-gain", "100", "--plateau-patience", "1")
    with MockServer() as server:
        command("simulate", "--out", "run", "--server", server.url, *SMALL, "--rounds", "9", *plateau)
        assert transcript.read("run").end == {"chain": lines_of("run")[-1]["chain"], **STOPPED, "rounds": 2}
        assert command("replay", "fork", "run", "--at", "2", "--out", "fork", "--seed", "5").code == 0
    assert transcript.read("fork").end == {"chain": lines_of("fork")[-1]["chain"], **STOPPED, "rounds": 4}
    assert command("replay", "verify", "fork").out == f"verified {4 * AGENTS} interactions\n"


def test_a_model_named_in_the_environment_is_none_to_ask_again(
    simulate: Command, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate("run")
    monkeypatch.setenv("SOCIAL_SANDBOX_MODEL", "mock")
    assert command("replay", "verify", "run").out == f"verified {2 * AGENTS} interactions\n"


def test_a_fork_that_broke_off_goes_on_by_its_own_settings(simulate: Command, command: Command) -> None:
    with MockServer() as server:
        command("simulate", "--out", "run", "--server", server.url, *SMALL)
        command("replay", "fork", "run", "--at", "1", "--out", "fork", "--seed", "4", "--rounds", "3")
        whole = (Path("fork") / transcript.FILE).read_bytes()
        shutil.rmtree("fork/dataset")
        (Path("fork") / transcript.FILE).write_bytes(b"".join(whole.splitlines(keepends=True)[:15])[:-9])
        assert command("simulate", "--resume", "--out", "fork").code == 0
    assert (Path("fork") / transcript.FILE).read_bytes() == whole and Path("fork/dataset").is_dir()


def test_a_run_that_is_being_written_is_verified_as_it_was_when_it_was_read(
    simulate: Command, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate("run")
    whole = (Path("run") / transcript.FILE).read_bytes().splitlines(keepends=True)
    write_chained("live", lines_of("run")[:11])
    verified = chain.verified

    def written_meanwhile(path: Path, *size: int) -> Iterator[chain.Line]:
        for line in verified(path, *size):
            if path.parent.name == "live" and line.number == 1 and path.stat().st_size < len(b"".join(whole)):
                with path.open("ab") as file:
                    file.write(b"".join(whole[11:]))
            yield line

    monkeypatch.setattr(chain, "verified", written_meanwhile)
    assert command("replay", "verify", "live") == Done(0, f"verified {AGENTS} interactions\n", "")


def test_a_fork_needs_nothing_of_its_parent_behind_where_it_branches(simulate: Command, command: Command) -> None:
    with MockServer() as server:
        command("simulate", "--out", "run", "--server", server.url, *SMALL)
        file = Path("run") / transcript.FILE
        file.write_bytes(file.read_bytes().replace(b'"round":2', b'"round":3', 1))
        assert command("replay", "fork", "run", "--at", "1", "--out", "fork").code == 0
        done = command("replay", "fork", "run", "--at", "2", "--out", "other", "--rounds", "3")
    assert done.code == 2 and "line 12 does not verify" in done.err and not Path("other").exists()


def test_the_environment_changes_nothing_that_a_run_says_of_itself(
    simulate: Command, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That agents forget nothing, run.toml tells by naming no limit."""
    Path("env.toml").write_text("size = 4\n")
    with MockServer() as server:
        command("simulate", "--out", "run", "--server", server.url, *SMALL)
        monkeypatch.setenv("SOCIAL_SANDBOX_CONFIG", "env.toml")
        monkeypatch.setenv("SOCIAL_SANDBOX_MEMORY_LIMIT", "6")
        assert command("replay", "fork", "run", "--at", "1", "--out", "fork").code == 0
        assert command("simulate", "--resume", "--out", "fork", "--rounds", "3").code == 0
        assert command("simulate", "--resume", "--out", "run", "--rounds", "3").code == 0
    assert transcript.read("fork").header["world"] == transcript.read("run").header["world"]
    assert command("replay", "verify", "fork").code == 0


def test_another_encoder_of_the_same_name_is_refused(
    simulate: Command, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MockServer() as server:
        command("simulate", "--out", "run", "--server", server.url, *SMALL)
        monkeypatch.setattr(Letters, "digest", "other letters")
        done = command("replay", "fork", "run", "--at", "1", "--out", "fork")
    assert done.code == 2 and "is not the one that run/transcript.jsonl was played with" in done.err
    assert not Path("fork").exists()
    assert "encoder: expected" in (told := command("replay", "verify", "run").err) and "--encoder names another" in told


def test_a_run_that_says_too_little_of_itself_is_one_line(simulate: Command, command: Command) -> None:
    simulate("run")
    (Path("run") / "run.toml").write_text("seed = 0\n")
    for argv in (("fork", "run", "--at", "1", "--out", "fork"), ("verify", "run", "--model")):
        done = command("replay", *argv)
        assert done.code == 2 and "run/run.toml: names no model" in done.err
    lines = lines_of("run")
    for parent in ("another", {"header": {}}):
        lines[0]["parent"] = parent
        write_chained("run", lines)
        done = command("simulate", "--resume", "--out", "run")
        assert done.code == 2 and "line 1 is no header that a run can be played from (parent" in done.err


def test_a_transcript_beside_worlds_is_refused(simulate: Command, command: Command) -> None:
    simulate("run")
    shutil.copytree("run", "run/world-00")
    done = command("replay", "verify", "run")
    assert done.code == 2 and "run holds a transcript and, in world-00, another run" in done.err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--at", "3"), "--at 3: run has 2 complete rounds; name one of them, or 0"),
        (("--at", "2"), "--rounds 2: the branch begins with 2 rounds; ask for more"),
        (("--at", "1", "--size", "4"), "--size: the agents have had it since their birth"),
        (("--at", "1", "--stance", "good"), "--stance: the agents have had it since their birth"),
        (("--at", "1", "--worlds", "2"), "--worlds: a branch is one world, played here"),
        (("--at", "1", "--out", "run"), "--out run: holds a run; `simulate --resume` goes on with it, or name another"),
        (("--at", "1", "--resume"), "--resume: a branch that broke off goes on by `simulate --resume --out`"),
        ((), "--at is missing"),
    ],
)
def test_what_cannot_branch_off_is_refused(
    simulate: Command, command: Command, argv: tuple[str, ...], told: str
) -> None:
    simulate("run")
    before = sorted(Path().rglob("*"))
    done = command("replay", "fork", "run", "--out", "fork", *argv)
    assert done.code == 2 and done.err.startswith(f"replay: {told}") and done.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
