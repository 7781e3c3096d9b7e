"""Reward models that don't collapse (arXiv 2305.17608): the theory, and their training (docs/reward-model.md)."""

from alignment.reward_model.limits import limit_distribution, utility_for
from alignment.reward_model.openness import estimate_openness
from alignment.reward_model.optimum import optimal_rewards

__all__ = ["estimate_openness", "limit_distribution", "optimal_rewards", "utility_for"]
