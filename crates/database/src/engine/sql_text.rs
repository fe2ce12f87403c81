//! Reads from a statement's text which columns it compares, orders and joins by. It runs nothing.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AssignmentTarget, BinaryOperator, Expr, FromTable, JoinConstraint, JoinOperator, LimitClause, ObjectName,
    OrderByExpr, OrderByKind, OrderBySort, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    TableWithJoins, UpdateTableFromKind, Value, Visit, Visitor,
};
use sqlparser::dialect::{self, Dialect};
use sqlparser::parser::Parser;

use crate::engine::catalogue::Catalogue;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

/// A column that results are ordered by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ordered {
    pub(crate) column: String,
    pub(crate) descending: bool,
}

/// How a statement uses a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableUse {
    pub(crate) table: String,
    /// What the statement calls it.
    pub(crate) called: String,
    /// Columns that must equal something.
    pub(crate) equal: Vec<String>,
    /// Of these, the ones that must equal a constant, as SQL: `state = 'ready'`.
    pub(crate) constant: Vec<(String, String)>,
    /// Columns with a lower or an upper bound.
    pub(crate) range: Vec<String>,
    pub(crate) order: Vec<Ordered>,
    /// All its columns that the query names; none if it asks for all, or is no query.
    pub(crate) mentioned: Vec<String>,
}

/// What the text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) uses: Vec<TableUse>,
    /// The largest constant offset.
    pub(crate) offset: Option<u64>,
    /// Whether it asks for a few rows only.
    pub(crate) limited: bool,
}

/// A statement that can be explained: one, that reads or changes rows.
pub(crate) fn parse(text: &str, engine: Engine) -> Result<Statement, String> {
    let words: &dyn Dialect = match engine {
        #[cfg(feature = "postgres")]
        Engine::Postgres => &dialect::PostgreSqlDialect {},
        #[cfg(feature = "sqlite")]
        Engine::Sqlite => &dialect::SQLiteDialect {},
    };
    let mut statements = Parser::parse_sql(words, text).map_err(|error| error.to_string())?;
    let statement = statements.pop().ok_or_else(|| "it is empty".to_owned())?;
    if !statements.is_empty() {
        return Err("it is more than one statement".to_owned());
    }
    match statement {
        Statement::Query(_) | Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {
            Ok(statement)
        }
        _ => Err("it neither reads nor changes rows".to_owned()),
    }
}

/// Whether a statement asks only for what the database knows about itself. One that cannot be read does not.
#[cfg(feature = "postgres")]
pub(crate) fn is_about_the_catalogue(text: &str, engine: Engine) -> bool {
    let Ok(statement) = parse(text, engine) else { return false };
    let (mut system, mut other) = (0, 0);
    let ControlFlow::<()>::Continue(()) = sqlparser::ast::visit_relations(&statement, |name| {
        let parts: Vec<_> =
            name.0.iter().filter_map(|part| part.as_ident()).map(|it| it.value.as_str()).collect();
        let of_the_system = match parts.as_slice() {
            ["pg_catalog" | "information_schema", ..] => true,
            [.., table] => table.starts_with("pg_") || table.starts_with("hypopg"),
            [] => false,
        };
        *(if of_the_system { &mut system } else { &mut other }) += 1;
        ControlFlow::Continue(())
    }) else {
        return false;
    };
    other == 0 && (system > 0 || text.contains("set_config("))
}

/// The columns that an UPDATE sets, and its table as the statement names it.
#[cfg(feature = "postgres")]
pub(crate) fn updated(statement: &Statement) -> Option<(String, Vec<String>)> {
    let Statement::Update(update) = statement else { return None };
    let TableFactor::Table { name, .. } = &update.table.relation else { return None };
    let last = |name: &ObjectName| Some(name.0.last()?.as_ident()?.value.clone());
    let columns = update.assignments.iter().flat_map(|assignment| match &assignment.target {
        AssignmentTarget::ColumnName(name) => last(name).into_iter().collect::<Vec<_>>(),
        AssignmentTarget::Tuple(names) => names.iter().filter_map(last).collect(),
    });
    let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident()).map(|it| it.value.clone()).collect();
    Some((parts.join("."), columns.collect()))
}

/// What the statement compares, orders and joins by; columns are told by the catalogue.
pub(crate) fn read(statement: &Statement, catalogue: &Catalogue) -> Reading {
    let mut reader = Reader { catalogue, reading: Reading::default() };
    match statement {
        Statement::Update(update) => {
            let from = match &update.from {
                Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => {
                    from.as_slice()
                }
                None => &[],
            };
            let tables: Vec<_> = std::iter::once(&update.table).chain(from).collect();
            reader.scope(&tables, update.selection.as_ref(), &[]);
        }
        Statement::Delete(delete) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            let tables: Vec<_> = from.iter().chain(delete.using.iter().flatten()).collect();
            reader.scope(&tables, delete.selection.as_ref(), &[]);
        }
        _ => {}
    }
    // Each query within it, however deep, is a scope of its own.
    let ControlFlow::Continue(()) = statement.visit(&mut reader);
    reader.reading
}

struct Reader<'a> {
    catalogue: &'a Catalogue,
    reading: Reading,
}

impl Visitor for Reader<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        self.offset(query);
        self.reading.limited |= query.limit_clause.is_some();
        if let SetExpr::Select(select) = &*query.body {
            self.select(select, query);
        }
        ControlFlow::Continue(())
    }
}

impl Reader<'_> {
    fn offset(&mut self, query: &Query) {
        let offset = match &query.limit_clause {
            Some(LimitClause::LimitOffset { offset: Some(offset), .. }) => Some(&offset.value),
            Some(LimitClause::OffsetCommaLimit { offset, .. }) => Some(offset),
            _ => None,
        };
        if let Some(Expr::Value(value)) = offset
            && let Value::Number(number, _) = &value.value
        {
            self.reading.offset = self.reading.offset.max(number.parse().ok());
        }
    }

    fn select(&mut self, select: &Select, query: &Query) {
        let order = match query.order_by.as_ref().map(|order| &order.kind) {
            Some(OrderByKind::Expressions(order)) => order.as_slice(),
            _ => &[],
        };
        let tables: Vec<_> = select.from.iter().collect();
        let first = self.reading.uses.len();
        self.scope(&tables, select.selection.as_ref(), order);
        let all = select
            .projection
            .iter()
            .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
        if let Some(uses) = self.reading.uses.get_mut(first..)
            && !all
        {
            let uses = uses.iter_mut().map(|table| (table.called.clone(), std::mem::take(table)));
            let mut scope = Scope { catalogue: self.catalogue, uses: uses.collect() };
            scope.mention(select, order);
            self.reading.uses.truncate(first);
            self.reading.uses.extend(scope.uses.into_iter().map(|(_, table)| table));
        }
    }

    fn scope(&mut self, from: &[&TableWithJoins], condition: Option<&Expr>, order: &[OrderByExpr]) {
        let mut scope = Scope { catalogue: self.catalogue, uses: Vec::new() };
        for table in from {
            scope.add(&table.relation);
            for join in &table.joins {
                scope.add(&join.relation);
            }
        }
        for join in from.iter().flat_map(|table| &table.joins) {
            if let Some(JoinConstraint::On(condition)) = constraint(&join.join_operator) {
                scope.condition(condition);
            }
        }
        if let Some(condition) = condition {
            scope.condition(condition);
        }
        scope.order(order);
        self.reading.uses.extend(scope.uses.into_iter().map(|(_, table)| table));
    }
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

/// The tables that a query names, by the name that it calls each.
struct Scope<'a> {
    catalogue: &'a Catalogue,
    uses: Vec<(String, TableUse)>,
}

impl Scope<'_> {
    fn add(&mut self, factor: &TableFactor) {
        let TableFactor::Table { name, alias, .. } = factor else { return };
        let parts: Vec<_> =
            name.0.iter().filter_map(|part| part.as_ident()).map(|it| it.value.clone()).collect();
        let Some(table) = self.catalogue.find(&parts.join(".")) else { return };
        let called = alias.as_ref().map(|alias| alias.name.value.clone()).or_else(|| parts.last().cloned());
        let called = called.unwrap_or_default();
        let table = TableUse { table: table.name.clone(), called: called.clone(), ..TableUse::default() };
        self.uses.push((called, table));
    }

    /// Which table's column an expression is.
    fn column(&self, expr: &Expr) -> Option<(usize, String)> {
        match expr {
            Expr::Nested(inner) => self.column(inner),
            Expr::Identifier(name) => {
                let has = |table: &str| {
                    self.catalogue.tables.get(table).is_some_and(|table| table.columns.contains(&name.value))
                };
                let at = self.uses.iter().position(|(_, table)| has(&table.table))?;
                Some((at, name.value.clone()))
            }
            Expr::CompoundIdentifier(parts) => {
                let (column, path) = parts.split_last()?;
                let called = &path.last()?.value;
                let at = self.uses.iter().position(|(name, _)| name == called)?;
                Some((at, column.value.clone()))
            }
            _ => None,
        }
    }

    /// Every column that the query names, in the order of the table.
    fn mention(&mut self, select: &Select, order: &[OrderByExpr]) {
        let mut found = Vec::new();
        let mut note = |expr: &Expr| {
            found.extend(self.column(expr));
            ControlFlow::<()>::Continue(())
        };
        // Neither ends early.
        let _ended = sqlparser::ast::visit_expressions(select, &mut note).is_break();
        for by in order {
            let _ended = sqlparser::ast::visit_expressions(&by.expr, &mut note).is_break();
        }
        for (at, (_, table)) in self.uses.iter_mut().enumerate() {
            let known = self.catalogue.tables.get(&table.table).map_or(&[][..], |it| it.columns.as_slice());
            let named = |column: &&String| found.iter().any(|(its, name)| *its == at && name == *column);
            table.mentioned = known.iter().filter(named).cloned().collect();
        }
    }

    /// All parts of a conjunction.
    fn condition(&mut self, expr: &Expr) {
        match expr {
            Expr::Nested(inner) => self.condition(inner),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.condition(left);
                self.condition(right);
            }
            Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::Eq => {
                    self.equal(left, Some(right));
                    self.equal(right, Some(left));
                }
                BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
                    self.range(left);
                    self.range(right);
                }
                _ => {}
            },
            Expr::Between { expr, negated: false, .. } => self.range(expr),
            Expr::In { expr, negated: false, .. } => {
                self.equal(expr, None);
            }
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, .. } => self.equal(left, None),
            Expr::IsNull(inner) => {
                self.equal(inner, None);
                self.constant(inner, "IS NULL");
            }
            Expr::IsTrue(inner) => self.equal(inner, None),
            _ => {}
        }
    }

    fn equal(&mut self, expr: &Expr, to: Option<&Expr>) {
        let Some((at, column)) = self.column(expr) else { return };
        if to.and_then(|to| self.column(to)).is_some_and(|(other, _)| other == at) {
            return;
        }
        if let Some((_, table)) = self.uses.get_mut(at)
            && !table.equal.contains(&column)
        {
            table.equal.push(column);
        }
        if let Some(Expr::Value(value)) = to
            && !matches!(value.value, Value::Placeholder(_) | Value::Null)
        {
            self.constant(expr, &format!("= {}", value.value));
        }
    }

    fn constant(&mut self, expr: &Expr, comparison: &str) {
        if let Some((at, column)) = self.column(expr)
            && let Some((_, table)) = self.uses.get_mut(at)
        {
            table.constant.push((column, comparison.to_owned()));
        }
    }

    fn range(&mut self, expr: &Expr) {
        if let Some((at, column)) = self.column(expr)
            && let Some((_, table)) = self.uses.get_mut(at)
            && !table.range.contains(&column)
        {
            table.range.push(column);
        }
    }

    /// An index can give an order only if all of it is by columns of one table.
    fn order(&mut self, order: &[OrderByExpr]) {
        let columns: Vec<_> = order.iter().map_while(|by| self.column(&by.expr).map(|it| (it, by))).collect();
        let Some(((first, _), _)) = columns.first() else { return };
        let first = *first;
        if columns.len() < order.len() || columns.iter().any(|((at, _), _)| *at != first) {
            return;
        }
        let ordered = columns.into_iter().map(|((_, column), by)| Ordered {
            column,
            descending: matches!(by.options.sort, Some(OrderBySort::Desc)),
        });
        if let Some((_, table)) = self.uses.get_mut(first) {
            table.order = ordered.collect();
        }
    }
}
