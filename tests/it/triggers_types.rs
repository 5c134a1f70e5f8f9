//! `tidings triggers types`: programs in TypeScript know what events hold, and are told when they no longer do.

use serde_json::{Value, json};

use crate::cli::{on, stdout};
use crate::support::{Bridge, Database, Sse, member};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/pages/events.ts");

/// A table of types that are hard to write down, with a row.
const ODD: &str = r#"
    select tidings.unwatch(t) from unnest('{documents,notifications,chat_sessions,chat_messages}'::regclass[]) t;
    create type mood as enum ('sad', 'it''s ok');
    create type spot as (x int, "y z" text);
    create domain tag as text not null;
    create domain many as int[];
    create table "Odd Things" (
      id bigint primary key, m mood not null, t tag, s spot, a int[], moods mood[] not null, d many, j jsonb, n numeric, o oid, at timestamptz, day date,
      "1st" bytea, b bool not null, r int4range, i interval, u uuid, k text check (k in ('a', 'b')), v varchar(9) not null check (v in ('c', 'd''e')),
      p text check (length(p) < 9), secret text, tenant text);
    comment on column "Odd Things".n is 'ends */ here';
    select from tidings.watch('"Odd Things"', tenant => 'tenant', except_columns => '{secret,tenant}', ops => '{insert,truncate}');
    create table shown (id int primary key, tenant text);
    select from tidings.watch('shown', tenant => 'tenant', columns => array['=json_build_object(''a'', id)'], type => '2nd-shown');
    create table shown_too (id int primary key, tenant text);
    select from tidings.watch('shown_too', tenant => 'tenant', columns => '{id}', type => '2nd-shown', ops => '{delete}')"#;

#[tokio::test]
async fn the_committed_map_is_what_the_reference_tables_have() {
    let db = Database::new().await;
    stdout(&on(&db, &["triggers", "types", "--check", COMMITTED]).await);
    assert_eq!(
        stdout(&on(&db, &["triggers", "types"]).await),
        std::fs::read_to_string(COMMITTED).unwrap().trim_end(),
        "printed as it is written"
    );
}

#[tokio::test]
async fn a_map_that_is_stale_or_missing_is_a_failure_that_says_how_to_mend_it() {
    let db = Database::new().await;
    db.run("alter table documents add column pages int").await;
    for path in [COMMITTED, "/nowhere/events.ts"] {
        let checked = on(&db, &["triggers", "types", "--check", path]).await;
        let told = String::from_utf8(checked.stderr).unwrap();
        assert_eq!(checked.status.code(), Some(1), "{told}");
        assert!(told.contains(&format!("tidings triggers types --out {path}")), "{told}");
    }
}

#[tokio::test]
async fn every_kind_of_column_is_written_as_it_appears_in_an_event() {
    let db = Database::new().await;
    db.run(ODD).await;
    let expected = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/types/odd.ts")).unwrap();
    assert_eq!(stdout(&on(&db, &["triggers", "types"]).await), expected.trim_end());
    // What is written there is what comes.
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.run(
        r#"insert into "Odd Things" values (1, 'sad', 't', (1, null), '{1,null}', '{sad}', '{2}', '{"a": 1}', 1.5, 7, '2026-01-01', '2026-01-01', '\x01', true,
           '[1,2)', '1 day', gen_random_uuid(), 'a', 'c', 'p', 'secret', 'acme')"#,
    )
    .await;
    let data = sse.next().await["data"].clone();
    let kind = |value: &Value| match value {
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        _ => "object",
    };
    let kinds: Vec<(&str, &str)> =
        data.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), kind(value))).collect();
    for (name, expected) in [
        ("id", "number"),
        ("n", "number"),
        ("o", "string"),
        ("s", "object"),
        ("a", "array"),
        ("d", "array"),
        ("r", "string"),
        ("b", "boolean"),
        ("1st", "string"),
    ] {
        assert!(kinds.contains(&(name, expected)), "{name}: {kinds:?}");
    }
    assert_eq!((data["s"].clone(), kinds.len()), (json!({"x": 1, "y z": null}), 20));
}
