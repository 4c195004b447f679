"""What may enter an offline table, and where the rest goes.

`admission.admit` is the door for pushed rows; computation checks its own with `rules.check`.
"""
