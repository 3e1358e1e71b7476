"""From a GraphQL operation to one SQL statement whose result is the finished JSON.

Types declare how each field is read (`declare`, `roots`, `errors`); the compiler
(`planner`) knows nothing of what they mean. `docs/plans.md` tells how a plan is made.
"""

from schema.plan.declare import (
    Connection,
    Edge,
    Money,
    Node,
    PageInfo,
    Ref,
    column,
    connection,
    embedded,
    expression,
    many,
    money,
    one,
    one_of,
    planned,
    ref,
    refs,
    value_type,
)
from schema.plan.errors import UserError, error_type, no_errors
from schema.plan.inputs import SortDirection, among, filter_input, global_id, sort_enum, where
from schema.plan.planner import Planner
from schema.plan.roots import (
    GlobalId,
    Info,
    NodeQueries,
    by,
    by_id,
    mutation,
    query_connection,
    query_expression,
    query_many,
    query_one,
    root,
    subscription,
)
from schema.plan.scalars import SCALARS, BigInt

__all__ = [
    "SCALARS",
    "BigInt",
    "Connection",
    "Edge",
    "GlobalId",
    "Info",
    "Money",
    "Node",
    "NodeQueries",
    "PageInfo",
    "Planner",
    "Ref",
    "SortDirection",
    "UserError",
    "among",
    "by",
    "by_id",
    "column",
    "connection",
    "embedded",
    "error_type",
    "expression",
    "filter_input",
    "global_id",
    "many",
    "money",
    "mutation",
    "no_errors",
    "one",
    "one_of",
    "planned",
    "query_connection",
    "query_expression",
    "query_many",
    "query_one",
    "ref",
    "refs",
    "root",
    "sort_enum",
    "subscription",
    "value_type",
    "where",
]
