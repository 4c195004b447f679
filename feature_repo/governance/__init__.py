"""How long features are kept, and how somebody is erased from them."""
