"""The mill: messages in, rows out, acknowledgement last."""
