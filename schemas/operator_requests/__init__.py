"""What a console asks of the process with the operator's rights.

A console is reachable from outside and may neither write the registry nor touch dead letters. It sends one of these few
requests over the broker to the janitor, which checks the token again and does the work.
"""
