"""What people do on the console's page with the operator's rights. The janitor runs it."""
