//! Statements that a connection prepares once and keeps.
//!
//! `diesel::sql_query` is parsed and planned anew each time, which costs more than running what the queue runs most. A plan
//! that is kept must not be one for an empty table, so what is kept here calls functions, whose planner settings the
//! schema pins.

use wavequill_database::adapters::diesel_async_0_9::diesel::expression::{AsExpression, TypedExpressionType};
use wavequill_database::adapters::diesel_async_0_9::diesel::pg::Pg;
use wavequill_database::adapters::diesel_async_0_9::diesel::query_builder::{
    AstPass, Query, QueryFragment, QueryId,
};
use wavequill_database::adapters::diesel_async_0_9::diesel::result::QueryResult;
use wavequill_database::adapters::diesel_async_0_9::diesel::sql_types::{SqlType, Untyped};

/// A statement with `?` where its values stand.
pub(super) struct Prepared<'a> {
    sql: &'static str,
    values: Vec<Box<dyn QueryFragment<Pg> + Send + 'a>>,
}

/// A statement that is prepared once a connection; values follow in the order of their `?`.
pub(super) fn prepared<'a>(sql: &'static str) -> Prepared<'a> {
    Prepared { sql, values: Vec::new() }
}

impl<'a> Prepared<'a> {
    pub(super) fn bind<Kind, T>(mut self, value: T) -> Self
    where
        Kind: SqlType + TypedExpressionType,
        T: AsExpression<Kind>,
        T::Expression: QueryFragment<Pg> + Send + 'a,
    {
        self.values.push(Box::new(value.as_expression()));
        self
    }
}

impl QueryFragment<Pg> for Prepared<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut values = self.values.iter();
        for (at, piece) in self.sql.split('?').enumerate() {
            if at > 0
                && let Some(value) = values.next()
            {
                value.walk_ast(pass.reborrow())?;
            }
            pass.push_sql(piece);
        }
        Ok(())
    }
}

// The text is what tells one from another.
impl QueryId for Prepared<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Prepared<'_> {
    type SqlType = Untyped;
}
