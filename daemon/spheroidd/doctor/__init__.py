"""Checks of a whole installation: each finds one thing and says what to do about it."""
