"""eva: prompts that evolve to where a model can learn from them, and the model with them (arXiv 2411.00062)."""

from alignment.eva.informativeness import informativeness as informativeness
