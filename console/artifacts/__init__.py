"""Uploads of source maps, mappings and debug files, as Sentry's tools send them; their lists."""
