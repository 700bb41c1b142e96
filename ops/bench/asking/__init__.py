"""What the console's questions cost: lists of issues over many errors."""
