//! How much cheaper the proposed indexes make TPC-H's queries, by the planner's cost, within budgets of bytes.
//!
//! `WAVEQUILL_TEST_DATABASE_URL=postgres://… cargo bench -p wavequill-benches --bench database_advisor`
//!
//! The data and the texts of the queries come from the crate `tpchgen`, at scale factor 0.2, without keys. The server
//! needs HypoPG.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench")]
#![expect(clippy::disallowed_methods, reason = "a bench takes the time, and is told where its server is")]

use std::collections::BTreeSet;
use std::fmt::{Display, Write};
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::SinkExt;
use tpchgen::csv::{
    CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv,
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen::q_and_a::queries::query;
use wavequill_database::adapters::diesel_async_0_9::tokio_postgres::{
    Client, NoTls, SimpleQueryMessage, connect,
};
use wavequill_database::{
    DieselConnectionPoolManager, Fingerprint, IndexBudget, IndexManager, IndexPlan, ObservedQuery,
    PostgresConfig, PostgresIndexManager, PostgresPool, Workload,
};

const SCALE: f64 = 0.2;
const DATABASE: &str = "wavequill_bench_tpch";
/// The queries, with the values that TPC-H prescribes for validation.
const QUERIES: [(i32, &[&str]); 18] = [
    (1, &["90"]),
    (3, &["BUILDING", "1995-03-15"]),
    (4, &["1993-07-01"]),
    (5, &["ASIA", "1994-01-01"]),
    (6, &["1994-01-01", "0.06", "24"]),
    (7, &["FRANCE", "GERMANY"]),
    (8, &["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"]),
    (9, &["green"]),
    (10, &["1993-10-01"]),
    (11, &["GERMANY", "0.0005"]),
    (12, &["MAIL", "SHIP", "1994-01-01"]),
    (13, &["special", "requests"]),
    (14, &["1995-09-01"]),
    (16, &["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"]),
    (18, &["300"]),
    (19, &["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"]),
    (21, &["SAUDI ARABIA"]),
    (22, &["13", "31", "23", "29", "30", "18", "17"]),
];
const BUDGETS_MB: [u64; 5] = [25, 50, 75, 100, 200];

const TABLES: &str = "
CREATE TABLE region (r_regionkey int, r_name char(25), r_comment varchar(152));
CREATE TABLE nation (n_nationkey int, n_name char(25), n_regionkey int, n_comment varchar(152));
CREATE TABLE supplier (s_suppkey int, s_name char(25), s_address varchar(40), s_nationkey int, s_phone char(15),
                       s_acctbal decimal(15,2), s_comment varchar(101));
CREATE TABLE customer (c_custkey int, c_name varchar(25), c_address varchar(40), c_nationkey int, c_phone char(15),
                       c_acctbal decimal(15,2), c_mktsegment char(10), c_comment varchar(117));
CREATE TABLE part (p_partkey int, p_name varchar(55), p_mfgr char(25), p_brand char(10), p_type varchar(25),
                   p_size int, p_container char(10), p_retailprice decimal(15,2), p_comment varchar(23));
CREATE TABLE partsupp (ps_partkey int, ps_suppkey int, ps_availqty int, ps_supplycost decimal(15,2),
                       ps_comment varchar(199));
CREATE TABLE orders (o_orderkey int, o_custkey int, o_orderstatus char(1), o_totalprice decimal(15,2),
                     o_orderdate date, o_orderpriority char(15), o_clerk char(15), o_shippriority int,
                     o_comment varchar(79));
CREATE TABLE lineitem (l_orderkey int, l_partkey int, l_suppkey int, l_linenumber int, l_quantity decimal(15,2),
                       l_extendedprice decimal(15,2), l_discount decimal(15,2), l_tax decimal(15,2),
                       l_returnflag char(1), l_linestatus char(1), l_shipdate date, l_commitdate date,
                       l_receiptdate date, l_shipinstruct char(25), l_shipmode char(10), l_comment varchar(44));";

async fn client(url: &str) -> Client {
    let (client, connection) = connect(url, NoTls).await.expect("the server answers");
    // The connection's task ends with the bench.
    tokio::task::spawn(async move { connection.await.expect("the connection lasts") });
    client
}

async fn load(client: &Client, table: &str, rows: impl Iterator<Item = impl Display>) {
    let sink = client.copy_in::<_, Bytes>(&format!("COPY {table} FROM STDIN WITH (FORMAT csv)")).await;
    let mut sink = pin!(sink.expect("the table is there"));
    let mut text = String::new();
    for row in rows {
        writeln!(text, "{row}").expect("a string takes all");
        if text.len() > 1 << 20 {
            sink.send(Bytes::from(std::mem::take(&mut text))).await.expect("rows are taken");
        }
    }
    sink.send(Bytes::from(text)).await.expect("rows are taken");
    sink.close().await.expect("rows are right");
}

async fn make_data(url: &str) {
    let client = client(url).await;
    client.batch_execute(TABLES).await.expect("tables can be made");
    load(&client, "region", RegionGenerator::new(SCALE, 1, 1).iter().map(RegionCsv::new)).await;
    load(&client, "nation", NationGenerator::new(SCALE, 1, 1).iter().map(NationCsv::new)).await;
    load(&client, "supplier", SupplierGenerator::new(SCALE, 1, 1).iter().map(SupplierCsv::new)).await;
    load(&client, "customer", CustomerGenerator::new(SCALE, 1, 1).iter().map(CustomerCsv::new)).await;
    load(&client, "part", PartGenerator::new(SCALE, 1, 1).iter().map(PartCsv::new)).await;
    load(&client, "partsupp", PartSuppGenerator::new(SCALE, 1, 1).iter().map(PartSuppCsv::new)).await;
    load(&client, "orders", OrderGenerator::new(SCALE, 1, 1).iter().map(OrderCsv::new)).await;
    load(&client, "lineitem", LineItemGenerator::new(SCALE, 1, 1).iter().map(LineItemCsv::new)).await;
    client.batch_execute("VACUUM ANALYZE").await.expect("it can be analysed");
    client.batch_execute("CREATE EXTENSION hypopg").await.expect("HypoPG is installed");
}

/// One text from the server: all rows of a query, joined.
async fn text(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.expect("the server runs it");
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn cost_of(plan: &str) -> f64 {
    let after = plan.split("\"Total Cost\": ").nth(1).expect("a plan has a cost");
    after.split([',', '\n']).next().and_then(|number| number.parse().ok()).expect("a number")
}

async fn explain(client: &Client, sql: &str) -> String {
    text(client, &format!("EXPLAIN (FORMAT JSON) {sql}")).await
}

/// The planner's cost of all queries, with these indexes as if they were there, and the bytes of these.
async fn total(client: &Client, queries: &[String], indexes: &[String]) -> (f64, u64) {
    text(client, "SELECT hypopg_reset()").await;
    for index in indexes {
        let index = index.replace("CONCURRENTLY ", "").replace('\'', "''");
        text(client, &format!("SELECT * FROM hypopg_create_index('{index}')")).await;
    }
    let mut sum = 0.0;
    for sql in queries {
        sum += cost_of(&explain(client, sql).await);
    }
    let bytes =
        text(client, "SELECT coalesce(sum(hypopg_relation_size(indexrelid)), 0) FROM hypopg_list_indexes")
            .await;
    text(client, "SELECT hypopg_reset()").await;
    (sum, bytes.parse().unwrap_or(0))
}

/// What index_advisor does, written anew: all columns alone, those that the planner uses for some query.
async fn single_columns(client: &Client, queries: &[String]) -> Vec<String> {
    let columns = text(
        client,
        "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1",
    )
    .await;
    let mut used = BTreeSet::new();
    for sql in queries {
        let tables = columns.lines().filter_map(|it| it.split_once('.'));
        let named: Vec<_> = tables.filter(|(_, column)| sql.contains(column)).collect();
        text(client, "SELECT hypopg_reset()").await;
        let mut made = Vec::new();
        for (table, column) in named {
            let create = format!("CREATE INDEX ON {table} ({column})");
            let name = text(client, &format!("SELECT indexname FROM hypopg_create_index('{create}')")).await;
            made.push((name, create));
        }
        let plan = explain(client, sql).await;
        used.extend(
            made.into_iter().filter(|(name, _)| plan.contains(name.as_str())).map(|(_, create)| create),
        );
    }
    text(client, "SELECT hypopg_reset()").await;
    used.into_iter().collect()
}

/// A query with its values; the last ones first, since `:1` begins `:10`.
fn filled(query: &str, values: &[&str]) -> String {
    let sql = query.trim().trim_end_matches(';').replace("day (3)", "day");
    let numbered = (1..).zip(values).collect::<Vec<_>>();
    numbered.into_iter().rev().fold(sql, |sql, (number, value)| sql.replace(&format!(":{number}"), value))
}

async fn workload(client: &Client, queries: &[String]) -> Workload {
    let mut observed = Vec::new();
    for (number, sql) in (1..).zip(queries) {
        // Each weighs as much as it costs, as in the published comparisons.
        let time = Duration::from_secs_f64(cost_of(&explain(client, sql).await) / 1_000.0);
        observed.push(ObservedQuery::new(Fingerprint::new(number), sql.as_str(), 1, time));
    }
    Workload::of(observed)
}

async fn propose(pool: &PostgresPool, workload: &Workload, budget: &IndexBudget) -> (IndexPlan, Duration) {
    let begun = Instant::now();
    let plan = PostgresIndexManager::new(pool.clone()).propose(workload, budget).await;
    (plan.expect("a plan"), begun.elapsed())
}

async fn run(server: String) {
    let admin = client(&server).await;
    let url = server.rsplit_once('/').map(|(server, _)| format!("{server}/{DATABASE}")).expect("a URL");
    let there = format!("SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'");
    if text(&admin, &there).await == "0" {
        admin.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await.expect("it can be made");
        make_data(&url).await;
    }
    let client = client(&url).await;
    let pool = DieselConnectionPoolManager::open_postgres(PostgresConfig::new(url)).expect("a pool").pool();
    let queries: Vec<String> =
        QUERIES.iter().filter_map(|(number, values)| Some(filled(query(*number)?, values))).collect();
    let (bare, _) = total(&client, &queries, &[]).await;
    println!("{} queries, no indexes: cost {bare:.0}", queries.len());
    let begun = Instant::now();
    let single = single_columns(&client, &queries).await;
    let took = begun.elapsed();
    let (cost, bytes) = total(&client, &queries, &single).await;
    println!(
        "single columns (as index_advisor, written anew): {:.1} % left, {:.0} MB, {} indexes, {:.2} s",
        cost / bare * 100.0,
        bytes as f64 / 1e6,
        single.len(),
        took.as_secs_f64()
    );
    let workload = workload(&client, &queries).await;
    for explains in [400, 1_000, 3_000] {
        for megabytes in BUDGETS_MB {
            let budget = IndexBudget::default().with_bytes(megabytes * 1_000_000).with_explains(explains);
            let (plan, took) = propose(&pool, &workload, &budget).await;
            let indexes: Vec<_> = plan.changes.iter().map(|change| change.sql.clone()).collect();
            let (cost, bytes) = total(&client, &queries, &indexes).await;
            println!(
                "wavequill, {megabytes:>3} MB, at most {explains} plans: {:.1} % left, {:.0} MB, {} indexes, {:.2} s",
                cost / bare * 100.0,
                bytes as f64 / 1e6,
                indexes.len(),
                took.as_secs_f64()
            );
        }
    }
}

fn main() {
    let Ok(server) = std::env::var("WAVEQUILL_TEST_DATABASE_URL") else {
        println!("set WAVEQUILL_TEST_DATABASE_URL to a PostgreSQL server with HypoPG");
        return;
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(run(server));
}
