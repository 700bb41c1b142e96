"""What the bench sends: bodies made by the real SDKs."""
