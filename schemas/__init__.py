"""The words every room shares: subjects, headers, readers of outside bytes, rows. No I/O and no clock."""
