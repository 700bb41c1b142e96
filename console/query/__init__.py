"""The search language of lists: text to terms, terms to conditions of SQL with parameters."""
