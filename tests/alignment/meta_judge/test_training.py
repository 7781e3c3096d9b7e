"""`align meta-judge`, called: two iterations from the first prompts to the last model, by every way to go."""

import json
import re
from itertools import count, permutations
from pathlib import Path
from statistics import fmean, pvariance

import pytest
from transformers import AutoModelForCausalLM

from agents.batching import Batcher
from agents.models import load_model
from alignment.answers import Answer
from alignment.config import AlignMetaJudgeOptions
from alignment.meta_judge import actor_pair, sampling
from alignment.meta_judge.judging import SCORE_END, judge_messages
from alignment.meta_judge.record import read_record
from sandbox.config import load
from sandbox.dataset import groups_of
from tests.alignment.iterated import PROMPTS, align, assert_same, kept, rows, unmoved, weights
from tests.alignment.meta_judge.conftest import argv_of, begun
from tests.fakes.faults import Status

RUN = Path(__file__).parents[3] / "runs/example/society"
SIZE = 4  # prompts of one of two iterations: of the twelve four are held out


@pytest.fixture
def meta(tmp_path, tiny_judge):
    """Calls `align meta-judge` in `tmp_path` by the small settings, or others."""
    begun(tmp_path)
    return lambda *sources, **options: align(tmp_path, *argv_of(*sources, **{"model": tiny_judge, **options}))


# The whole of it.


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_judge):
    """Two iterations, with harder prompts to measure on: the folder, and what was said. Tests leave it as it is."""
    folder = begun(tmp_path_factory.mktemp("meta"))
    done = align(folder, *argv_of(model=tiny_judge, hard="hard.txt", prompts=SIZE))
    assert done.code == 0, done.err
    return folder / "trained", done


def phases(folder, number):
    """(task, responses, judgements by place) of every prompt of an iteration."""
    parts = (rows(folder / f"iteration-{number}/{name}.jsonl") for name in ("prompts", "responses", "judgements"))
    found = list(zip(*parts, strict=True))
    assert all(task["id"] == said["id"] == judged["id"] for task, said, judged in found)
    return [(task, said["responses"], judged["judgements"]) for task, said, judged in found]


def means(judged):
    """The mean score of each judged response, by place."""
    return {int(place): fmean(each["score"] for each in found) for place, found in judged.items()}


def test_every_distinct_response_is_judged_so_many_times(trained):
    folder, _ = trained
    for number in (1, 2):
        found = phases(folder, number)
        assert len(found) == SIZE
        for _, said, judged in found:
            texts = [reply["text"] for reply in said]
            assert len(texts) == len(set(texts)) == 3 and [*judged] == ["0", "1", "2"]
            for each in (each for judgements in judged.values() for each in judgements):
                assert each["outcome"] == "ok" and 0 < each["score"] < 5 and 0 < each["label_mass"] < 1
                assert each["text"].endswith(f"\n\n{SCORE_END}{round(each['score'])}") and each["finished"]
            assert {len(judgements) for judgements in judged.values()} == {3}
        scores = [each["score"] for _, _, judged in found for some in judged.values() for each in some]
        assert len(set(scores)) > SIZE * 3 * 3 / 2, "they hardly depend on what is judged"


def test_prompts_are_new_ones_in_every_iteration_and_never_those_that_are_measured(trained):
    folder, done = trained
    first, second = ([task["text"] for task, *_ in phases(folder, number)] for number in (1, 2))
    held = {row["question"] for row in rows(folder / "iteration-0/answers.jsonl") if row["set"] == "held-out"}
    assert len(held) == 2 and len({*first, *second, *held}) == 2 * SIZE + 2
    assert {*first, *second, *held} <= set(PROMPTS)
    assert f"{SIZE} new ones an iteration; measured on 2 held-out and 2 hard ones" in done.err


@pytest.mark.parametrize(("number", "rho"), [(1, 0.2), (2, 0.4)])
def test_the_actor_learns_from_pairs_by_the_iterations_rho(trained, number, rho):
    folder, _ = trained
    pairs = [pair for pair in rows(folder / f"iteration-{number}/pairs.jsonl") if pair["kind"] == "actor"]
    expected = []
    for task, said, judged in phases(folder, number):
        scores, texts = means(judged), [reply["text"] for reply in said]
        pair = actor_pair([*scores.values()], [*map(len, texts)], rho)
        expected.append((task["id"], task["text"], [texts[place] for place in pair], [scores[p] for p in pair]))
    assert [
        (pair["id"], pair["query"][-1]["content"], pair["responses"], pytest.approx(pair["scores"])) for pair in pairs
    ] == expected
    assert {tuple(turn["role"] for turn in pair["query"]) for pair in pairs} == {("system", "user")}


def test_bouts_are_about_the_response_whose_scores_vary_most_in_both_orders(trained):
    folder, _ = trained
    bouts = {bout["id"]: bout for bout in rows(folder / "iteration-1/verdicts.jsonl")}
    for task, _, judged in phases(folder, 1):
        variances = [pvariance([each["score"] for each in found]) for found in judged.values()]
        bout = bouts[task["id"]]
        assert bout["place"] == variances.index(max(variances))
        assert [(each["first"], each["second"]) for each in bout["verdicts"]] == [*permutations(range(3), 2)]
        leads = [each["lead"] for each in bout["verdicts"]]
        assert [each["result"] for each in bout["verdicts"]] == [1 if lead > fmean(leads) else -1 for lead in leads]
    assert len(bouts) == SIZE and not (folder / "iteration-2/verdicts.jsonl").exists()


def test_the_judge_learns_from_judgements_of_one_response_where_the_schedule_says_so(trained):
    folder, _ = trained
    kinds = [[pair["kind"] for pair in rows(folder / f"iteration-{number}/pairs.jsonl")] for number in (1, 2)]
    assert set(kinds[0]) == {"actor", "judge"} and set(kinds[1]) == {"actor"}
    bouts = {bout["id"]: bout["place"] for bout in rows(folder / "iteration-1/verdicts.jsonl")}
    found = {task["id"]: (task, said, judged) for task, said, judged in phases(folder, 1)}
    for pair in rows(folder / "iteration-1/pairs.jsonl"):
        if pair["kind"] == "judge":
            task, said, judged = found[pair["id"]]
            place = bouts[pair["id"]]
            (asked,) = judge_messages(task["text"], said[place]["text"])
            assert pair["query"] == [{"role": "user", "content": asked.content}]
            assert {*pair["responses"]} <= {each["text"] for each in judged[str(place)]}
            assert len({*pair["responses"]}) == 2 and pair["scores"][0] > pair["scores"][1]


def test_what_is_learned_moves_the_model_and_is_verified(trained, tiny_judge):
    folder, done = trained
    assert unmoved(weights(tiny_judge), weights(folder / "iteration-1/model")) == []
    assert unmoved(weights(folder / "iteration-1/model"), weights(folder / "iteration-2/model")) == []
    assert (folder / "model.safetensors").read_bytes() == (folder / "iteration-2/model/model.safetensors").read_bytes()
    losses = [row["loss"] for row in rows(folder / "iteration-2/model/trainer_log.jsonl")]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3), "the reference is not the model that the iteration began with"
    for model in (folder, folder / "iteration-1/model"):
        verified = align(folder.parent, "verify", model)
        assert verified.code == 0 and "verified" in verified.out, verified.err
    loaded = dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())
    assert loaded.keys() == {*unmoved(weights(folder), loaded)}
    assert load_model(str(folder), Batcher()).name == "trained"
    assert "after iteration" in done.out


def test_the_metrics_sum_up_the_files(trained):
    folder, _ = trained
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["method"], metrics["judge"], metrics["meta"]) == ("meta-judge", "expected", True)
    for number, told in enumerate(metrics["iterations"], start=1):
        found = phases(folder, number)
        assert (told["prompts"], told["responses"], told["distinct"]) == (SIZE, 3 * SIZE, 3 * SIZE)
        assert (told["judgements"], told["unread"]) == (3 * 3 * SIZE, 0)
        assert told["score"]["value"] == pytest.approx(fmean(s for *_, judged in found for s in means(judged).values()))
        spread = [pvariance([x["score"] for x in each]) ** 0.5 for *_, judged in found for each in judged.values()]
        assert told["disagreement"] == pytest.approx(fmean(spread))
        pairs = [pair["kind"] for pair in rows(folder / f"iteration-{number}/pairs.jsonl")]
        assert (told["actor_pairs"], told["judge_pairs"]) == (pairs.count("actor"), pairs.count("judge"))
        assert told["learned"]["rows"] == len(pairs)
    first, second = (told["meta_judge"] for told in metrics["iterations"])
    assert (first["bouts"], first["verdicts"], first["unread"], second) == (SIZE, 6 * SIZE, 0, None)
    for number, told in enumerate(metrics["answers"]):
        for kind in ("held-out", "hard"):
            answers = rows(folder / f"iteration-{number}/answers.jsonl")
            mine = [row["reward"] for row in answers if row["set"] == kind]
            assert len(mine) == 2 and told[kind]["reward"]["value"] == pytest.approx(fmean(mine))
    # Reasoning, and behind it the score; the same for the verdicts.
    assert metrics["cost"]["judgements"]["calls"] == 2 * 2 * SIZE * 3 * 3
    assert metrics["cost"]["verdicts"]["calls"] == 2 * SIZE * 6
    assert [each.number for each in read_record(folder, 2).iterations] == [0, 1, 2]


def test_its_settings_are_a_configuration_again(trained, tmp_path):
    folder, _ = trained
    again = load(AlignMetaJudgeOptions, ["x", "--config", str(folder / "align.toml"), "--out", str(tmp_path)], prog="x")
    assert [turn["rho"] for turn in again.schedule] == [0.2, 0.4] and (again.prompts, again.judgements) == (SIZE, 3)


# Ways to judge.


def judged_by(replies):
    """Takes the place of what a judge and a meta-judge say: `replies` of purpose, place and turn, or both places."""

    async def answer(model, chat, manner, key, start=""):
        one, other = map(int, key.other.split(":"))
        return Answer(replies(key.purpose, one, other), 5, True)

    return answer


# By place and turn; the last judgement of each response is none. Their means are 3, 4 and ½, their variances 4, 0, ¼.
SAID = {0: (5, 1), 1: (4, 4), 2: (1, 0)}


def test_scores_and_winners_that_are_written(meta, tmp_path, monkeypatch):
    def reply(purpose, one, other):
        if purpose == "meta-judge":  # who prefers the first judgement, wherever it stands
            return "Fair.\nWinner: " + ("A" if one == 0 else "B")
        return f"Turn {other} of {one}.\n" + (f"Score: {SAID[one][other]}" if other < 2 else "I can't say.")

    monkeypatch.setattr(sampling, "answer", judged_by(reply))
    done = meta(judge="text", iterations=1)
    assert done.code == 0, done.err
    folder = tmp_path / "trained"
    for _, _, judged in phases(folder, 1):
        assert {int(place): [each["score"] for each in found] for place, found in judged.items()} == {
            place: [*scores, None] for place, scores in SAID.items()
        }
    for bout in rows(folder / "iteration-1/verdicts.jsonl"):
        assert bout["place"] == 0
        assert [(each["first"], each["second"], each["result"]) for each in bout["verdicts"]] == [(0, 1, 1), (1, 0, -1)]
    replies = {task["id"]: [reply["text"] for reply in said] for task, said, _ in phases(folder, 1)}
    for pair in rows(folder / "iteration-1/pairs.jsonl"):
        if pair["kind"] == "actor":
            # At ρ = 0.2 the tiers reach from 4 to 3.3 and from 1.2 to 0.5.
            assert pair["scores"] == [4, 0.5] and pair["responses"] == replies[pair["id"]][1:]
        else:
            assert pair["responses"] == ["Turn 0 of 0.\nScore: 5", "Turn 1 of 0.\nScore: 1"]
    told = json.loads((folder / "metrics.json").read_text())["iterations"][0]
    assert (told["judgements"], told["unread"], told["actor_pairs"], told["judge_pairs"]) == (9 * 8, 3 * 8, 8, 8)
    biases = told["meta_judge"]
    assert biases["higher_score"]["value"] == 1 and biases["first"]["value"] == 0.5 and biases["weights"] == [0.5, 0.5]


def test_a_model_that_writes_no_scores_is_told_in_one_line(meta, tmp_path):
    told = meta(judge="text", iterations=1).refused
    assert "iteration-1: no pair to learn from (wanted: responses and judgements); no score could be read from" in told
    assert f"from {8 * 9} of {8 * 9} judgements of {8 * 3} distinct responses to 8 prompts; sample more" in told
    assert "or choose --judge expected" in told
    assert meta(judge="text", iterations=1, resume=True).refused == told
    left = {path.name for path in (tmp_path / "trained/iteration-1").iterdir()}
    assert left == {"prompts.jsonl", "responses.jsonl", "judgements.jsonl"}


def test_judgements_that_are_too_long_to_learn_from_leave_the_actors_pairs(meta, tmp_path):
    (tmp_path / "short.toml").write_text("schedule = [{max_judgement = 9}]\n")
    assert meta(config="short.toml", iterations=1).code == 0
    assert {pair["kind"] for pair in rows(tmp_path / "trained/iteration-1/pairs.jsonl")} == {"actor"}
    assert len(rows(tmp_path / "trained/iteration-1/verdicts.jsonl")) == 8


def test_an_observer_judges_from_outside_and_does_not_learn(meta, tmp_path):
    done = meta(judge="embedding", observer="embedding", iterations=1)
    assert done.code == 0, done.err
    for _, said, judged in phases(tmp_path / "trained", 1):
        assert [*judged] == [str(place) for place in range(len(said))]
        assert all(len(found) == 1 and found[0].keys() == {"score", "outcome"} for found in judged.values())
    assert {pair["kind"] for pair in rows(tmp_path / "trained/iteration-1/pairs.jsonl")} == {"actor"}
    assert not (tmp_path / "trained/iteration-1/verdicts.jsonl").exists()
    assert json.loads((tmp_path / "trained/metrics.json").read_text())["iterations"][0]["disagreement"] is None


def test_self_rewarding_judges_alike_and_learns_from_responses_alone(meta, trained, tmp_path):
    done = meta(meta=False, hard="hard.txt", iterations=1, prompts=SIZE)
    assert done.code == 0, done.err
    folder = tmp_path / "trained/iteration-1"
    for name in ("prompts", "responses", "judgements"):
        path = f"{name}.jsonl"
        assert (folder / path).read_bytes() == (trained[0] / "iteration-1" / path).read_bytes(), name
    assert not (folder / "verdicts.jsonl").exists()
    with_meta = rows(trained[0] / "iteration-1/pairs.jsonl")
    assert rows(folder / "pairs.jsonl") == [pair for pair in with_meta if pair["kind"] == "actor"]


def test_repetitions_are_not_judged(meta, tmp_path):
    options = {"iterations": 1, "max_tokens": 1, "responses": 4, "judgements": 1, "observer": "embedding"}
    done = meta(**options, temperature=0.3)
    assert done.code == 0, done.err
    found = phases(tmp_path / "trained", 1)
    texts = [[reply["text"].strip() for reply in said] for _, said, _ in found]
    assert len({len({*each}) for each in texts}) > 1, "all repeat as often"
    for each, (_, _, judged) in zip(texts, found, strict=True):
        assert [*map(int, judged)] == [n for n, text in enumerate(each) if text and text not in each[:n]]
    told = meta(**options, temperature=0.01, out="same").refused
    assert "no score could be read from 0 of 8 judgements of 8 distinct responses to 8 prompts; sample more" in told


# Where responses come from, and what a judge is compared with.


def test_responses_that_agents_gave_are_the_first_iterations(meta, tmp_path):
    done = meta(RUN, logged=True, prompts=2, judgements=2, max_length=1200, observer="embedding")
    assert done.code == 0, done.err
    logged = {group.question: group for group in groups_of([RUN])}
    first, second = (phases(tmp_path / "trained", number) for number in (1, 2))
    for task, said, judged in first:
        group = logged[task["text"]]
        assert [reply["text"] for reply in said] == [*group.responses]
        assert [reply["finished"] for reply in said] == [*group.finished]
        assert len(judged) == len(said)
    assert not {task["text"] for task, *_ in first} & {task["text"] for task, *_ in second}
    assert {len(said) for _, said, _ in second} == {3}
    told = json.loads((tmp_path / "trained/metrics.json").read_text())["iterations"]
    assert told[0]["tokens"] is None and told[1]["tokens"] == 6
    assert told[0]["characters"] == fmean(len(reply["text"]) for _, said, _ in first for reply in said)


def test_prompts_without_logged_responses_come_after_the_first_iteration(meta, tmp_path):
    options = {"logged": True, "max_length": 1200, "answers": 0, "judgements": 1, "observer": "embedding"}
    said = {group.question for group in groups_of([RUN])}
    with_none = f"--prompts {len(said) + 1}: the first iteration's responses are logged ones, and only "
    assert with_none in meta(RUN, "prompts.txt", **options, test_share=0, prompts=len(said) + 1).refused
    done = meta(RUN, "prompts.txt", **options, test_share=0, prompts=len(said), iterations=2)
    assert done.code == 0, done.err
    first, second = ({task["text"] for task, *_ in phases(tmp_path / "trained", number)} for number in (1, 2))
    assert first == said and not second & said and second & set(PROMPTS)


def test_who_measures_is_not_asked_for_where_nothing_is_measured(meta, tmp_path):
    done = meta(answers=0, observer="reward-model:nothing", iterations=1, prompts=2)
    assert done.code == 0, done.err
    assert not (tmp_path / "trained/iteration-1/answers.jsonl").exists()


RATED = [
    {"query": PROMPTS[0], "responses": ["Yes, ask first.", "Take it.", "Why not?"], "scores": [7, 1, 4]},
    {"query": PROMPTS[1], "responses": ["Never."], "scores": [3]},
    {"query": PROMPTS[2], "responses": ["Yes.", "No."], "scores": [2, 2]},
    {"query": PROMPTS[3], "responses": ["Be kind.", "Lie."], "scores": [6, 2]},
]


@pytest.fixture
def rated(tmp_path):
    path = tmp_path / "rated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in RATED))
    return path


def test_the_judge_is_compared_with_a_reference_after_every_iteration(meta, tmp_path, rated):
    options = {"reference": "rated.jsonl", "iterations": 1, "prompts": 4, "observer": "embedding"}
    done = meta(**options)
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "trained/metrics.json").read_text())["reference"]
    assert [each["iteration"] for each in told] == [0, 1]
    for each in told:
        assert (each["scored"], each["pairs"], each["ties"]) == (3 + 2, 3 + 1, 0), "those that are rated differently"
        found = rows(tmp_path / f"trained/iteration-{each['iteration']}/reference.jsonl")
        assert [{len(some) for some in row["judgements"].values()} for row in found] == [{3}, {3}]
        (a, b, c), (d, e) = (means(row["judgements"]).values() for row in found)
        assert each["in_order"]["value"] == ((a > b) + (a > c) + (c > b) + (d > e)) / 4
        assert each["in_order"] == each["in_order_decided"]
    first, second = (rows(tmp_path / f"trained/iteration-{n}/reference.jsonl") for n in (0, 1))
    assert first != second, "the judge did not change"
    asked = {row["text"] for row in rows(tmp_path / "trained/iteration-1/prompts.jsonl")}
    assert len(asked) == 4 and not asked & {PROMPTS[0], PROMPTS[3]}
    assert re.search(r"\n[12] prompts? of the sources left out, on which the judge is compared\n", done.err)
    rated.write_text(rated.read_text().replace("Never.", "Ever."))  # no two answers
    assert meta(**options, resume=True).code == 0
    rated.write_text(rated.read_text().replace("Lie.", "Lie!"))
    told = "the rows are others than those that the training began with; give the same --reference, or"
    assert told in meta(**options, resume=True).refused


def test_a_last_reference_that_was_broken_off_is_gone_on_with(meta, tmp_path, rated):
    options = {"reference": "rated.jsonl", "iterations": 1, "prompts": 4, "observer": "embedding"}
    assert meta(**options).code == 0
    path = tmp_path / "trained/iteration-1/reference.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") + 1])
    done = meta(**options, resume=True)
    assert done.code == 0, done.err
    assert path.read_bytes() == whole


def test_without_anything_held_out_nothing_is_measured(meta, tmp_path):
    done = meta(test_share=0, iterations=1, prompts=3)
    assert done.code == 0, done.err
    assert "12 prompts, 3 new ones an iteration; measured on 0 held-out and 0 hard ones" in done.err
    assert not (tmp_path / "trained/iteration-0/answers.jsonl").exists()
    metrics = json.loads((tmp_path / "trained/metrics.json").read_text())
    assert metrics["answers"] == [{"iteration": 0}, {"iteration": 1}] and metrics["reference"] == []


# The same again, and more of it.


def test_equal_options_give_equal_files(meta, trained, tmp_path):
    assert meta(hard="hard.txt", prompts=SIZE).code == 0
    assert_same(kept(trained[0]), kept(tmp_path / "trained"))
    other = meta(out="other", seed=1, iterations=1, prompts=SIZE)
    assert other.code == 0, other.err
    one, two = (kept(tmp_path / name)["iteration-1/responses.jsonl"] for name in ("trained", "other"))
    assert one != two


def test_a_finished_training_goes_on_as_one_that_was_longer_from_the_start(meta, trained, tmp_path):
    options = {"hard": "hard.txt", "prompts": SIZE}
    done = meta(**options, iterations=1)
    assert done.code == 0, done.err
    short = kept(tmp_path / "trained")
    assert meta(**options, iterations=1, resume=True).code == 0
    assert_same(short, kept(tmp_path / "trained"))
    done = meta(**options, iterations=2, resume=True)
    assert done.code == 0, done.err
    longer = kept(tmp_path / "trained")
    assert_same(longer, kept(trained[0]))
    assert short["model.safetensors"] != longer["model.safetensors"]
    assert_same(*({name: files[name] for name in short if name.startswith("iteration-")} for files in (short, longer)))


def test_another_training_is_not_gone_on_with(meta, tmp_path):
    options = {"iterations": 1, "observer": "embedding"}
    assert meta(**options).code == 0
    before = kept(tmp_path / "trained")

    def refused(**changed):
        line = meta(**{**options, **changed}).refused
        assert kept(tmp_path / "trained") == before
        return line

    assert "go on with --resume, or " in refused()
    assert "begun with --judgements 3, not --judgements 4; give it that again" in refused(judgements=4, resume=True)
    assert "begun with --judge expected, not --judge text" in refused(judge="text", resume=True)
    assert "begun with --meta true, not --meta false" in refused(meta=False, resume=True)
    assert "begun with --prompts 8, not --prompts 4" in refused(iterations=2, resume=True)
    (tmp_path / "schedule.toml").write_text("schedule = [{rho = 0.3}]\n")
    assert "begun with [[schedule]] number of rows: 2, not [[schedule]] number of rows: 1" in refused(resume=True)


# What can't be done.


@pytest.mark.parametrize(
    ("sources", "options", "told"),
    [
        ([], {"judge": "me"}, "--judge me: unknown judge; known: text, expected, llm, llm:verdict, llm:scale"),
        ([], {"observer": "text"}, "--observer text: unknown judge; known: llm, llm:verdict, llm:scale, embedding"),
        ([], {"judge": "reward-model:nothing"}, "nothing"),
        ([], {"config": "unknown.toml"}, "[[schedule]] row 1, roh: extra inputs are not permitted"),
        ([], {"config": "wide.toml"}, "[[schedule]] row 1, rho: input should be less than or equal to 1, got 1.5"),
        ([], {"config": "none.toml"}, "--schedule: "),
        ([], {"config": "long.toml"}, "[[schedule]] row 1, max_judgement: input should be greater than or equal"),
        ([], {"config": "idle.toml"}, "[[schedule]] row 2: iteration 2 would learn nothing; give it actor = true"),
        ([], {"config": "judge.toml", "meta": False}, "[[schedule]] row 1: iteration 1 would learn nothing"),
        ([], {"config": "judge.toml", "judge": "embedding"}, "[[schedule]] row 1: iteration 1 would learn nothing"),
        ([], {"prompts": 5}, "--prompts 5: 2 iterations need 10 prompts, and"),
        ([], {"iterations": 13}, "13 iterations need 13 prompts, and"),
        ([], {"logged": True}, "--logged: no source is a run, and so none has responses; name one, or leave it out"),
        ([], {"reference": "nothing.jsonl"}, "nothing.jsonl"),
        ([], {"reference": "level.jsonl"}, "--reference level.jsonl: rates no two answers to a prompt differently"),
        (["nothing.txt"], {}, "nothing.txt: no such file or run"),
        ([], {"resume": True}, "--resume: trained holds no training"),
        ([], {"responses": 1}, "--responses"),
        ([], {"judgements": 0}, "--judgements"),
        ([], {"vllm_command": "no-such-vllm serve"}, "vLLM's command 'no-such-vllm serve': there is no such program"),
        ([], {"engine": "local", "vllm_command": "vllm"}, "--engine local: starts no vLLM"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_before_anything_is_written(meta, tmp_path, sources, options, told):
    tables = {"unknown": "{roh = 0.1}", "wide": "{rho = 1.5}", "none": "", "long": "{max_judgement = 0}",
              "idle": "{actor = true}, {actor = false, judge = false}", "judge": "{actor = false}"}  # fmt: skip
    for name, given in tables.items():
        (tmp_path / f"{name}.toml").write_text(f"schedule = [{given}]\n")
    (tmp_path / "level.jsonl").write_text(json.dumps(RATED[2]) + "\n")
    assert told in meta(*sources, **options).refused
    assert not list(tmp_path.glob("*trained*"))


def test_an_observer_without_its_words_is_refused_before_anything_is_written(meta, small_model, tmp_path):
    assert "--judge llm:verdict: " in meta(model=small_model).refused
    assert not list(tmp_path.glob("*trained*"))


def test_a_judge_that_has_no_room_for_what_it_is_asked_stops_the_training(meta, small_model):
    done = meta(model=small_model, observer="embedding", iterations=1)
    assert done.code == 3 and "Traceback" not in done.err
    told = done.err.splitlines()[-1]
    assert "and 8 new ones exceed the 256 of small0), more than --max-failures 0.05 allows" in told


# A server that fails.


def fails(about, which):
    """A plan: of the requests whose messages hold the text `about`, those with such numbers, from 0, are refused."""
    seen = count()

    def fault(number, body):
        concerned = any(about in message["content"] for message in body["messages"])
        return Status(400, "out of order") if concerned and which(next(seen)) else None

    return fault


def never(number, body):
    return None


def test_a_judge_that_fails_too_much_stops_the_training_and_is_asked_again(meta, tmp_path, tiny_judge, server):
    server.behaviour.models = (str(tiny_judge),)  # who answers and judges until it has learned
    options = {"server": server.url, "iterations": 1, "prompts": 4, "judgements": 2}
    done = meta(out="whole", **options)
    assert done.code == 0, done.err
    for phase, about in (("judgements", "Award this"), ("verdicts", "Two judges")):
        server.behaviour.faults = fails(about, lambda number: number >= 5)
        done = meta(out=phase, **options)
        assert done.code == 3 and "Traceback" not in done.err, done.err
        told = done.err.splitlines()[-1]
        assert "calls failed (refused: " in told and "mend the cause and go on with --resume" in told
        server.behaviour.faults = never
        done = meta(out=phase, **options, resume=True)
        assert done.code == 0, done.err
        assert_same(kept(tmp_path / "whole"), kept(tmp_path / phase))


def test_a_server_that_tells_no_probabilities_is_refused_before_anything_is_written(meta, tmp_path, tiny_judge, server):
    server.behaviour.models = (str(tiny_judge),)
    server.behaviour.word_ids, server.behaviour.top = False, 0
    told = meta(server=server.url, observer="embedding").refused
    assert "--judge expected: " in told and "tells no probabilities of a score's tokens; choose --judge text" in told
    assert not list(tmp_path.glob("*trained*"))


def test_a_single_call_that_fails_is_within_the_quota_and_leaves_its_outcome(meta, tmp_path, tiny_judge, server):
    server.behaviour.models = (str(tiny_judge),)
    server.behaviour.faults = fails("Award this", lambda number: number == 3)
    done = meta(server=server.url, prompts=4, judgements=2)
    assert done.code == 0, done.err
    asked = [body for body in server.counters.bodies if "Award this" in body["messages"][0]["content"]]
    # Reasoning is asked for first; behind that which failed no score is read.
    assert len(asked) == 2 * 4 * 3 * 2 - 1, "in the second iteration another model judges: what the first one became"
    every = [each for *_, judged in phases(tmp_path / "trained", 1) for some in judged.values() for each in some]
    (missing,) = [each for each in every if each["outcome"] != "ok"]
    assert (missing["outcome"], missing["score"], missing["text"]) == ("refused", None, None)
    assert json.loads((tmp_path / "trained/metrics.json").read_text())["iterations"][0]["unread"] == 1
