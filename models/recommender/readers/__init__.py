"""Readers: one file format each, all giving `user_id, item_id, rating, timestamp`."""
