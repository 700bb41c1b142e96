"""The routes of the Web API, one file per family, and what they share: errors, bodies, pages."""
