"""Commands that run until they are stopped: the janitor, the canary."""
