"""How RecBole comes to know all this."""
