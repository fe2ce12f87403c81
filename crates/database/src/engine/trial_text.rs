//! Gives a statement's placeholders values of the table itself, so that it can be run on a copy without knowing what
//! callers bind. The values never leave the database: they are named by a column of a table of their own.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, Ident, InTarget, LimitClause, Query, Statement, Value, VisitMut, VisitorMut,
};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::parser::Parser;

use crate::engine::catalogue::Catalogue;
use crate::engine::sql_text::{Reading, TableUse};

/// Where the values come from: `SELECT v0 FROM` this table.
pub(crate) const VALUES: &str = "wavequill_values";

/// A statement without placeholders, and the column that each of its values is to be taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrialText {
    pub(crate) sql: String,
    pub(crate) values: Vec<(String, String)>,
}

/// `None` if a placeholder is compared with no column that is known.
pub(crate) fn trial_text(
    statement: &Statement,
    reading: &Reading,
    catalogue: &Catalogue,
) -> Option<TrialText> {
    let mut statement = statement.clone();
    let mut filler = Filler { reading, catalogue, values: Vec::new() };
    let filled = statement.visit(&mut filler);
    let open = sqlparser::ast::visit_expressions(&statement, |expr| {
        if is_placeholder(expr) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (filled.is_continue() && open.is_continue())
        .then(|| TrialText { sql: statement.to_string(), values: filler.values })
}

struct Filler<'a> {
    reading: &'a Reading,
    catalogue: &'a Catalogue,
    values: Vec<(String, String)>,
}

impl VisitorMut for Filler<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                if let Some(limit) = limit {
                    set_number(limit, "1");
                }
                if let Some(offset) = offset {
                    set_number(&mut offset.value, "0");
                }
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                set_number(offset, "0");
                set_number(limit, "1");
            }
            None => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::BinaryOp { left, op, right } if is_comparison(op) => {
                if let Some(column) = self.column(left) {
                    self.fill(right, &column);
                } else if let Some(column) = self.column(right) {
                    self.fill(left, &column);
                }
            }
            Expr::Between { expr, low, high, .. } => {
                if let Some(column) = self.column(expr) {
                    self.fill(low, &column);
                    self.fill(high, &column);
                }
            }
            Expr::In { expr, target: InTarget::List(list), .. } => {
                if let Some(column) = self.column(expr) {
                    for item in list {
                        self.fill(item, &column);
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Filler<'_> {
    fn column(&self, expr: &Expr) -> Option<(String, String)> {
        let of = |it: &TableUse, column: &str| {
            let table = self.catalogue.tables.get(&it.table)?;
            table.columns.iter().any(|known| known == column).then(|| (it.table.clone(), column.to_owned()))
        };
        match expr {
            Expr::Nested(inner) => self.column(inner),
            Expr::Identifier(name) => self.reading.uses.iter().find_map(|it| of(it, &name.value)),
            Expr::CompoundIdentifier(parts) => {
                let (column, path) = parts.split_last()?;
                let called = &path.last()?.value;
                self.reading
                    .uses
                    .iter()
                    .filter(|it| it.called == *called)
                    .find_map(|it| of(it, &column.value))
            }
            _ => None,
        }
    }

    fn fill(&mut self, value: &mut Expr, column: &(String, String)) {
        if is_placeholder(value) {
            let number = self.values.len();
            self.values.push(column.clone());
            *value = subquery(number);
        }
    }
}

/// `(SELECT v0 FROM wavequill_values)`, as the parser reads it.
fn subquery(number: usize) -> Expr {
    let sql = format!("(SELECT v{number} FROM {VALUES})");
    let parsed = Parser::new(&SQLiteDialect {}).try_with_sql(&sql).and_then(|mut parser| parser.parse_expr());
    parsed.unwrap_or_else(|_| Expr::Identifier(Ident::new("null")))
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn is_placeholder(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

fn set_number(expr: &mut Expr, number: &str) {
    if is_placeholder(expr) {
        *expr = Expr::Value(Value::Number(number.to_owned(), false).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::catalogue::Table;
    use crate::engine::sql_text::{Engine, parse, read};

    fn text_of(sql: &str) -> Option<TrialText> {
        let columns = ["id", "state", "priority"].map(str::to_owned).to_vec();
        let jobs = Table { name: "jobs".to_owned(), columns, ..Table::default() };
        let catalogue =
            Catalogue { tables: [("jobs".to_owned(), jobs)].into_iter().collect(), ..Catalogue::default() };
        let statement = parse(sql, Engine::Sqlite).unwrap();
        trial_text(&statement, &read(&statement, &catalogue), &catalogue)
    }

    #[test]
    fn each_placeholder_gets_a_value_of_the_column_that_it_is_compared_with() {
        let text =
            text_of("SELECT id FROM jobs j WHERE j.state = ? AND ?2 < priority ORDER BY id LIMIT ?").unwrap();
        assert_eq!(
            text.sql,
            "SELECT id FROM jobs j WHERE j.state = (SELECT v0 FROM wavequill_values) AND \
             (SELECT v1 FROM wavequill_values) < priority ORDER BY id LIMIT 1"
        );
        let of = |column: &str| ("jobs".to_owned(), column.to_owned());
        assert_eq!(text.values, [of("state"), of("priority")]);
        assert!(text_of("SELECT id FROM jobs WHERE id = 7").unwrap().values.is_empty());
    }

    #[test]
    fn a_placeholder_that_stands_for_something_unknown_is_not_guessed() {
        assert_eq!(text_of("SELECT id FROM jobs WHERE length(state) = ?"), None);
        assert_eq!(text_of("SELECT ? FROM jobs"), None);
    }
}
