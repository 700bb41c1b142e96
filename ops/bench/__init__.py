"""Measurements of this machine: ours beside a floor, in turns, as ratios. Nothing here is a test."""
