"""Counts, times and sizes as people read them, and what the keys of metrics.json are called."""

from __future__ import annotations

TOLD = {
    "read": "groups read",
    "merged": "merged, their queries being equal",
    "copies": "copies of an answer dropped",
    "single": "groups with one answer",
    "level": "groups whose ratings all count as equal",
    "left_out": "left out of the runs",
    "scale": "rating scale S",
    "delta": "ratings that count as equal differ by",
    "responses": "answers",
    "truncated": "answers cut at the longest length",
    "dropped": "groups dropped, their prompt being too long",
    "unshared": "prompts computed anew for each answer",
    "passed_over": "visits passed over",
    "steps": "steps",
    "best_per_token": "log-probability a token, best answers",
    "worst_per_token": "log-probability a token, worst answers",
    "best_sum": "log-probability of the whole, best answers",
    "worst_sum": "log-probability of the whole, worst answers",
    "best_perplexity": "perplexity, best answers",
    "neutral_perplexity": "perplexity, neutral text",
    "spread": "spread of a prompt's rewards (standard deviation)",
    "open_closed": "rewards of open against closed prompts (Wasserstein-1)",
    "to_optimum": "rewards against the utility's best (Wasserstein-1)",
    "to_limit": "rewards against its limit law (Wasserstein-1)",
    "length": "correlation of rewards with length (τ-b)",
    "rated_length": "correlation of ratings with length (τ-b)",
    "judge": "correlation of rewards with the second observer (τ-b)",
    "few_responses": "groups of fewer than four answers",
    "openness_told": "groups whose openness the data tells",
}


def label(key: str) -> str:
    """What a key is called."""
    return TOLD.get(key, key.replace("_", " "))


def how_many(count: int, thing: str) -> str:
    """As in "1 group" and "1,200 groups"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def with_interval(value: float, low: float | None, high: float | None, form: str) -> str:
    """As in "0.75 [0.50, 1.00]", each number in the format `form`; without an interval the value alone."""
    return f"{value:{form}}" + ("" if low is None or high is None else f" [{low:{form}}, {high:{form}}]")


def duration(seconds: float) -> str:
    """As in "2.5 s", "12 min" and "3 h 05 min"."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def bytes_told(count: float) -> str:
    """As in "850 MB" and "3.70 GB"; a GB is 10⁹ bytes."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
