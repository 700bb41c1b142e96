"""Crash uploads: the form, its fields, and the files that native SDKs leave beside a dump."""
