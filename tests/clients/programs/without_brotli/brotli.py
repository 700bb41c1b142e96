"""Put in front of the import path, this makes the Sentry SDK believe that brotli is not installed."""

raise ImportError("hidden, so that the SDK falls back to gzip")
