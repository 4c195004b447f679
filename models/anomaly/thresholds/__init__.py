"""From scores to alarms, without test labels: one threshold for each source, moving with it.

Needs numpy and scipy only: stream processors use it without torch.
"""
