//! The text of a value in an event is exact, whatever its type and whatever the writer's session is set to.

use serde_json::{Value, json};

use crate::support::Database;

/// A session that spells everything unlike others do.
const ODD_SESSION: &str = "set bytea_output = escape; set extra_float_digits = -10; set datestyle = 'German, DMY';
    set intervalstyle = sql_standard; set timezone = 'Asia/Kathmandu'; set search_path = pg_catalog";

/// Both kinds of trigger.
const KINDS: [(&str, &str); 2] =
    [("", ""), ("partition by list (tenant)", "create table public.t_0 partition of public.t default;")];

/// Types that the tests' tables use beside those of PostgreSQL.
const TYPES: &str = "
    set client_min_messages = warning; create domain binary_data as bytea; create domain nested_data as binary_data; create domain spans as interval[];
    create domain positive as int check (value > 0); create type mood as enum ('sad', 'it''s \"ok\"');
    create type pair as (a interval, b bytea); create type day_range as range (subtype = date)";

/// For each of these columns, a value and its text: the data of every event is that text, whether 1 row is inserted or 70 are,
/// into a table that has only such a column, by an odd session.
async fn expect(cases: &[(&str, &str, &str)]) {
    let db = Database::new().await;
    let (mut tables, mut inserts, mut expected) = (TYPES.to_owned(), ODD_SESSION.to_owned(), Vec::new());
    for (case, (column, value, text)) in cases.iter().enumerate() {
        for (kind, by) in ["", "partition by list (tenant)"].into_iter().enumerate() {
            let name = format!("t_{case}_{kind}");
            tables += &format!("; create table {name} (tenant text, v {column}) {by}");
            if !by.is_empty() {
                tables += &format!("; create table {name}_0 partition of {name} default");
            }
            tables += &format!("; select tidings.watch('{name}', tenant => 'tenant', columns => '{{v}}')");
            for rows in [1, 70] {
                inserts +=
                    &format!("; insert into public.{name} select 'acme', {value} from generate_series(1, {rows})");
            }
            expected.push(format!("{name}.inserted 71 {{\"v\":{text}}}"));
        }
    }
    db.run(&tables).await;
    db.run(&inserts).await;
    let told = "select type || ' ' || count(*) || ' ' || string_agg(distinct data::text, ' or ') from tidings._log group by type order by min(eid)";
    let told: Vec<String> = db.client.query(told, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn numbers_are_exact_beyond_what_a_float_holds() {
    expect(&[
        ("bigint", "9007199254740993", "9007199254740993"),
        ("bigint", "-9223372036854775808", "-9223372036854775808"),
        (
            "numeric",
            "123456789012345678901234567890.12345678901234567890",
            "123456789012345678901234567890.12345678901234567890",
        ),
        ("numeric(10,4)", "1.5", "1.5000"),
        ("numeric", "'NaN'", "\"NaN\""),
        ("numeric", "'-Infinity'", "\"-Infinity\""),
        ("float8", "0.1 + 0.2::float8", "0.30000000000000004"),
        ("float8", "'Infinity'", "\"Infinity\""),
        ("float8", "'NaN'", "\"NaN\""),
        ("float4", "0.1::float4 + 0.2::float4", "0.3"),
        ("float8[]", "'{0.1,NaN}'", "[0.1,\"NaN\"]"),
        ("point", "'(0.1,0.2)'", "\"(0.1,0.2)\""),
        ("circle", "'<(0.1,0.2),0.3>'", "\"<(0.1,0.2),0.3>\""),
        ("box", "'(0.3,0.4),(0.1,0.2)'", "\"(0.3,0.4),(0.1,0.2)\""),
        ("public.positive", "7", "7"),
    ])
    .await;
}

#[tokio::test]
async fn binary_data_is_hexadecimal() {
    expect(&[
        ("bytea", r"'\x00ff5c'", r#""\\x00ff5c""#),
        ("bytea[]", r"array['\x00ff'::bytea]", r#"["\\x00ff"]"#),
        ("public.binary_data", r"'\x00ff'", r#""\\x00ff""#),
        ("public.nested_data", r"'\x00ff'", r#""\\x00ff""#),
        ("public.pair", r"row('1 day', '\x00ff')::public.pair", r#"{"a":"1 day","b":"\\x00ff"}"#),
    ])
    .await;
}

#[tokio::test]
async fn times_are_iso_with_microseconds_and_intervals_are_postgresqls() {
    expect(&[
        ("date", "date '2026-11-20'", "\"2026-11-20\""),
        ("date", "'-infinity'", "\"-infinity\""),
        ("timestamp", "timestamp '2026-11-20 14:57:31.418752'", "\"2026-11-20T14:57:31.418752\""),
        ("timestamptz", "timestamptz '2026-11-20 14:57:31.418752+02'", "\"2026-11-20T12:57:31.418752+00:00\""),
        ("timestamptz", "'infinity'", "\"infinity\""),
        ("date[]", "array[date '2026-11-20']", "[\"2026-11-20\"]"),
        ("interval", "interval '1 year 2 days 03:04:05.000006'", "\"1 year 2 days 03:04:05.000006\""),
        ("public.spans", "array[interval '1 day -1 hours']", "[\"1 day -01:00:00\"]"),
        ("daterange", "daterange('2026-11-20', '2026-11-22')", "\"[2026-11-20,2026-11-22)\""),
        ("public.day_range", "public.day_range(date '2026-11-20', null)", "\"[2026-11-20,)\""),
        ("tstzrange", "tstzrange('2026-11-20 12:00+00', null)", r#""[\"2026-11-20 12:00:00+00\",)""#),
        ("tsmultirange", "tsmultirange(tsrange('2026-11-20', null))", r#""{[\"2026-11-20 00:00:00\",)}""#),
    ])
    .await;
}

#[tokio::test]
async fn texts_json_and_enums_are_whole() {
    expect(&[
        ("text", r#"E'a"b\\c\n\té\U0001F600 </script>'"#, r#""a\"b\\c\n\té😀 </script>""#),
        ("text[]", r#"array['a,b', null, '"']"#, r#"["a,b",null,"\""]"#),
        ("text[]", "array[array['a'], array['b']]", r#"[["a"],["b"]]"#),
        ("json", r#"'{"b": 1, "a":  1e2, "b": 2}'"#, r#"{"b": 1, "a":  1e2, "b": 2}"#),
        ("jsonb", r#"'{"b": 1, "a": 1.0}'"#, r#"{"a": 1.0, "b": 1}"#),
        ("jsonb", "'null'", "null"),
        ("char(5)", "'ab'", r#""ab   ""#),
        ("public.mood", "'it''s \"ok\"'", r#""it's \"ok\"""#),
        ("regclass", "'public.t_0_0'::regclass", "\"public.t_0_0\""),
        ("boolean", "true", "true"),
        ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""),
    ])
    .await;
}

#[tokio::test]
async fn keys_are_spelled_alike_by_every_session() {
    for (by, partition) in KINDS {
        let db = Database::new().await;
        db.run(&format!(
            "create table public.t (d date, i interval, z timestamptz, f float8, b bytea, tenant text, primary key (d, i, z, f, b, tenant)) {by}; {partition}
             select tidings.watch('t', tenant => 'tenant')"
        ))
        .await;
        db.run(&format!(
            r"{ODD_SESSION}; insert into public.t values (date '2026-11-20', interval '1 day', timestamptz '2026-11-20 12:00+00', 0.1 + 0.2::float8, '\x00ff', 'acme')"
        ))
        .await;
        assert_eq!(db.logged().await[0][2], r"2026-11-20,1 day,2026-11-20 12:00:00+00,0.30000000000000004,\x00ff,acme");
    }
}

#[tokio::test]
async fn expressions_over_dates_are_spelled_alike_by_every_session() {
    let db = Database::watched("day date, tenant text, r daterange", "tenant => 'tenant', subject => '{=day}'").await;
    db.run(&format!("{ODD_SESSION}; insert into public.t values (date '2026-11-20', 'acme')")).await;
    assert_eq!(db.logged().await[0][2], "2026-11-20");
}

#[tokio::test]
async fn a_value_that_a_float_would_blur_still_counts_as_changed() {
    let db = Database::watched("id int primary key, tenant text, f float8, n numeric", "tenant => 'tenant'").await;
    db.run("insert into t values (1, 'acme', 0.3, 1.0)").await;
    let logged =
        db.logs("set extra_float_digits = -10; update t set f = 0.1 + 0.2::float8; update t set n = 1.00").await;
    let changed: Vec<&Value> = logged.iter().map(|event| &event[3]).collect();
    assert_eq!(changed, [&json!("f"), &json!("n")]);
}
