"""An agent's memory: text to vectors, exact search, remember and recall."""
