"""Releases and deploys: what tools say about them, and what their events say."""
