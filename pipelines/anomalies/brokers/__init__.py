"""Brokers whose streams have partitions, read from positions that the store keeps."""
