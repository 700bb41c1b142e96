"""What is where: workers, streams, and whether everything accepted is accounted for."""
