"""Secrets in received data become `[Filtered]`: in headers, in command lines and addresses, in a Sentry payload."""
