"""The parts of a Sentry payload that several item types have: user, request, contexts, traces."""
