"""The Sentry envelope: its body, its header lines, and the older body that is one event alone."""
