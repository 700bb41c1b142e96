"""Measurements of this machine: every figure beside a baseline, measured in turns, as a ratio. These are no tests."""
