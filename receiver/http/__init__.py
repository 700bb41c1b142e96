"""Requests and answers as HTTP has them: routes, bodies within limits, cross-origin rules, deadlines."""
