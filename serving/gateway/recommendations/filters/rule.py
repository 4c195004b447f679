"""A rule over one attribute of items, written in the configuration: stock, age, region, brands.

An item stays if `<item> <test> <wanted>` holds, where wanted is a value, an attribute of the user
or something that the caller says:

    {item: "item_availability:stock", test: at_least, value: 1}
    {item: "item_availability:minimum_age", test: at_most, context: age, otherwise: 0}
    {item: "item_availability:regions", test: contains, context: region}
    {item: "item_content:brand", test: none_of, value: [Acme]}
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from serving.gateway.recommendations.ask import Ask
from serving.gateway.recommendations.pool import Pool
from serving.gateway.recommendations.resources import Resources

Test = Callable[[Any, Any], bool]

TESTS: Mapping[str, Test] = {
    "equals": operator.eq,
    "differs": operator.ne,
    "at_least": operator.ge,
    "at_most": operator.le,
    "above": operator.gt,
    "below": operator.lt,
    "one_of": lambda value, wanted: value in wanted,
    "none_of": lambda value, wanted: value not in wanted,
    "contains": lambda value, wanted: wanted in value,
    "lacks": lambda value, wanted: wanted not in value,
}


class RuleError(ValueError):
    """A rule that says nothing, or two things at once."""

    exit_code = 78  # EX_CONFIG


class Rule:
    """Keeps the items that pass one test.

    Args:
        item: the item's feature, as view:feature.
        test: a key of `TESTS`.
        value: what it is compared with; or
        user: a feature of the user that it is compared with; or
        context: something that the caller says, a key of the config's `context`.
        otherwise: compared with where the user or the caller does not say; None: all items stay.
        missing: whether items without the feature are to "keep" or "drop".
        relax: give way where nothing would be left.

    Raises:
        RuleError: an unknown test, or not exactly one of value, user and context.
        AbsentError: the store has no such feature.
    """

    def __init__(
        self,
        resources: Resources,
        item: str,
        test: str,
        value: Any = None,
        user: str | None = None,
        context: str | None = None,
        otherwise: Any = None,
        missing: str = "keep",
        relax: bool = False,
    ) -> None:
        if test not in TESTS:
            raise RuleError(f"rule over {item}: test is {test!r}; there are {', '.join(TESTS)}")
        if sum(given is not None for given in (value, user, context)) != 1:
            raise RuleError(f"rule over {item}: give exactly one of value, user and context")
        if missing not in ("keep", "drop"):
            raise RuleError(f"rule over {item}: missing is {missing!r}; there are keep and drop")
        self.item = resources.item_feature(item)
        self.test = TESTS[test]
        self.value = value
        self.user = None if user is None else resources.user_feature(user)
        self.context = context
        self.otherwise = otherwise
        self.without = missing == "keep"
        self.relax = relax
        self.attributes = (self.item,)
        self.user_features = () if self.user is None else (self.user,)

    def keep(self, pool: Pool, ask: Ask) -> list[bool]:
        wanted = self._wanted(ask)
        if wanted is None:
            return [True] * len(pool.items)
        test, without = self.test, self.without
        return [without if v is None else test(v, wanted) for v in pool.column(self.item)]

    def _wanted(self, ask: Ask) -> Any:
        if self.value is not None:
            return self.value
        said = ask.feature(self.user) if self.user else ask.context.get(str(self.context))
        return self.otherwise if said is None else said
