"""Measurements of this machine: every figure beside its floor, in turns, as ratios. Nothing here is a test."""
