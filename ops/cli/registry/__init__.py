"""Commands on channels, keys, environments and organisations, and on the registry as a file."""
