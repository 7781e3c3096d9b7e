"""The society: its world, its protocol, its log, and what is made of the log."""
