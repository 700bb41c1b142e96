"""A Sentry body into its items. readers.py has the reader of each route."""
