"""Messages in: pulled, opened, handed to their handler, handed over inside a process, counted."""
