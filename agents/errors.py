"""Errors that are the user's to mend: the commands print their one line and exit with code 2."""


class BadInput(ValueError):
    """What is wrong, where, and what to do about it, in one line."""
