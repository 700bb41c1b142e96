"""Who asks, and what may they do: tokens, scopes, organisations and projects of the registry."""
