"""What the janitor, which counts errors by issue, and those who read the counts share."""
