"""Replays: stored bodies are processed again."""
