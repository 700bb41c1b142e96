"""One file for each family of endpoints, and what the Sentry ones share."""
