"""The registry bucket as processes follow it."""
