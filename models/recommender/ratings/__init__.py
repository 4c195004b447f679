"""Rating prediction: how many stars this user would give this item.

Contract (`ratings.model.RatingModel`): `fit(data, train)`, perhaps `tune(data, validation)`, then
`forward(user [B], item [B])` → stars [B]. Users and items are graph ids, 1 … U and 1 … V; 0 stands
for one that nobody knows.
"""
