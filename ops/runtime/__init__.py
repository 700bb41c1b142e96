"""What every process needs: settings, logging, tracing, and access to the broker. Commands live elsewhere."""
