"""Reads which requests receivers have refused."""
