"""How values are read, by kind of online store: see `configs/gateway/default.yaml`."""
