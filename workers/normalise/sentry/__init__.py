"""Sentry items to rows: one file for each item type, and the forms that several share."""
