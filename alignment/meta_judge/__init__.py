"""Meta-Rewarding: one model answers, judges its answers, and judges its judgements (arXiv 2407.19594)."""

from alignment.meta_judge.battles import battle_matrix, elo_scores, position_weights
from alignment.meta_judge.pairs import actor_pair, judge_pair, most_uncertain

__all__ = ["actor_pair", "battle_matrix", "elo_scores", "judge_pair", "most_uncertain", "position_weights"]
