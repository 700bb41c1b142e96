"""Questions about stored events: rows and groups (`events`), time series, attributes, traces."""
