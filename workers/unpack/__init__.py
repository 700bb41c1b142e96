"""A Sentry body into its items. Which reader a route has is in readers.py."""
