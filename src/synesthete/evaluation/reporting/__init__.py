"""Reports: figures, galleries, and a folder that holds them."""
