"""The Sentry envelope: body and header lines; and the older body that is a single event."""
