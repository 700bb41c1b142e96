"""The door: bytes in, broker acknowledgement out. It never looks inside an item."""
