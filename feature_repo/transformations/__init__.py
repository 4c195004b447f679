"""One feature view's values, one file, one pure function from Ibis tables to an Ibis table.

Every result holds the entity's key, the features, and `event_timestamp`: the moment from which the
values were known. Engines differ only in the connection that runs the expression.
"""
