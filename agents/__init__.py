"""The agents, the observers, and the language models they speak with."""
