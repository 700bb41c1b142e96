"""Sends test events through the whole system and measures how long their rows take."""
