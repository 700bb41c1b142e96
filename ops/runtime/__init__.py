"""What every process needs to run: shared settings, how to reach the broker, logging. No commands live here."""
