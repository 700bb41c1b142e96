"""Do a broker and tables belong to one system, and may one take the other: asked, decided, and said in words."""
