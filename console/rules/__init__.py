"""Alert rules: what tools may say in one, and where they are kept."""
