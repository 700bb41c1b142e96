"""Shared by all processes: stop on a signal, raise the limit of open files, wait before another try, run a child."""
