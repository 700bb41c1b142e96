"""What every process does once: it stops on a signal, may open many files, and waits before it tries again."""
