"""Jobs that handle what a broker delivers, and lose none of it."""
