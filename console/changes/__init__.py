"""What people change through the process with the operator's rights: dead letters, keys, projects."""
