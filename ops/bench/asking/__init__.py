"""What questions cost over many rows: views beside the bare table, lists of issues, readers beside ingest."""
