"""The page in the browser: its files, compressed once at start, and the requests that sign people in and out."""
