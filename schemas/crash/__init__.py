"""Crash uploads: the form, its fields, and the files that native SDKs attach to a dump."""
