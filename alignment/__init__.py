"""The trainers that learn from the society's log."""
