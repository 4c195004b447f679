"""One feature view's values, one file, one pure function from Ibis tables to an Ibis table.

A function gets the raw tables that its view names, cut to the days it may read, and `dates`, the
days to compute. Its result holds the entity's key, the features, `event_timestamp` (the moment from
which the values were true) and `day` (the day of source data a row belongs to). Engines differ only
in the connection that runs the expression.
"""
