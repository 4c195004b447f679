"""Off-policy evaluation: what another policy would have earned, from the log of the one that ran.

`log` reads what was shown with which propensity and what it earned; `targets` say how likely
another policy was to show it; `estimators` turn both into a value, and `intervals` say how sure
that is.
"""
