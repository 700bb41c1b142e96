"""Reads what receivers have counted: refused requests, and when each key was last used."""
