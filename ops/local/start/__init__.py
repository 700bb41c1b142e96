"""What `axonpush up` decides and prints when it starts."""
