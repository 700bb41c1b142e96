"""`axonpush alerts`: the process that evaluates alert rules and tells people what they found.

One process evaluates at a time (lease.py). What it decides is stored in the broker's bucket `alerts` before it is sent.
"""
