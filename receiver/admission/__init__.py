"""May this request come in: keys, registry, quotas, and the refusals that are counted."""
