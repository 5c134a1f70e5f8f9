//! The latest state of watched rows, for clients that poll: what events show, and to the same people.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::cli::tidings;
use crate::support::{Answer, Bridge, Database, Sse, admin, get_page, member, token};

/// The answer to a poll of a tenant's table: `rest` is `table/key` or `table?keys=…`.
async fn poll(bridge: &Bridge, token: &str, tenant: &str, rest: &str) -> (u16, Value) {
    bridge.get_as(token, &format!("/v1/tenants/{tenant}/watched/{rest}")).await
}

/// Status and code of a refused poll.
async fn refusal(bridge: &Bridge, rest: &str) -> (u16, String) {
    Answer::of(bridge.request("GET", &format!("/v1/tenants/acme/watched/{rest}")).bearer_auth(member("acme")))
        .await
        .problem()
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn polling_shows_what_events_show_and_to_the_same_people() {
    let db = Database::new().await;
    db.run(
        "create table org (id int primary key, tenant text);
         create table t (id int primary key, org int, owner text, at timestamptz, secret text, f float8, span interval, raw bytea);
         select tidings.watch('t', tenant => '=(select o.tenant from public.org o where o.id = org)', except_columns => '{secret,org}', audience => 'owner');
         insert into org values (1, 'acme'), (2, 'globex')",
    )
    .await;
    // What a database is set to shows in neither.
    let name = db.name();
    db.run(&format!(
        "alter database {name} set datestyle = 'SQL, DMY'; alter database {name} set timezone = 'Asia/Tokyo'"
    ))
    .await;
    db.run(&format!("alter database {name} set extra_float_digits = -5; alter database {name} set intervalstyle = iso_8601; alter database {name} set bytea_output = escape")).await;
    let bridge = Bridge::start(&db).await;
    let people = [
        ("ann", "acme", member("acme")),
        ("bob", "acme", token(json!({"sub": "bob", "tenant": "acme"}))),
        ("admin of acme", "acme", token(json!({"sub": "amy", "tenant": "acme", "role": "admin"}))),
        ("gus", "globex", token(json!({"sub": "gus", "tenant": "globex"}))),
        ("narrow", "acme", token(json!({"sub": "ann", "tenant": "acme", "events": "documents.*,t.deleted"}))),
        ("narrow enough", "acme", token(json!({"sub": "ann", "tenant": "acme", "events": "t.up*"}))),
        ("root", "globex", admin()),
    ];
    let writer = db.connect().await;
    writer
        .batch_execute(
            r"insert into t select i, org, owner, '2026-03-04 05:06:07.5+01', 'secret', 1.0 / 3, '1 day 02:03', '\xdeadbeef'
                from (values (1, 1, null), (2, 1, 'ann'), (3, 1, 'bob'), (4, 2, null), (5, 2, 'gus'), (6, 2, 'ann'), (7, 3, null)) v (i, org, owner);
              update t set secret = 'more', at = at + interval '1 s'",
        )
        .await
        .unwrap();
    for (who, tenant, token) in people {
        let mut events = BTreeMap::new();
        for event in get_page(&bridge, &token, tenant, "?types=t.updated").await.events {
            events.insert(event["subject"].as_str().unwrap().to_owned(), event["data"].clone());
        }
        let (status, rows) = poll(&bridge, &token, tenant, "t?keys=1,2,3,4,5,6,7,8").await;
        let rows: BTreeMap<_, _> = match status {
            200 => rows["rows"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| (row["key"].as_str().unwrap().to_owned(), row["data"].clone()))
                .collect(),
            _ => BTreeMap::new(),
        };
        assert_eq!(rows, events, "{who}");
        assert_eq!(status, if who == "narrow" { 404 } else { 200 }, "{who}");
        for id in 1..=8 {
            let (status, row) = poll(&bridge, &token, tenant, &format!("t/{id}")).await;
            assert_eq!((status == 200).then_some(&row["data"]), events.get(&id.to_string()), "{who}, {id}");
        }
    }
}

#[tokio::test]
async fn a_row_of_another_tenant_is_answered_like_one_that_never_was() {
    let db = Database::new().await;
    db.run(
        "create table t (id int primary key, tenant text, owner text); select tidings.watch('t', tenant => 'tenant', audience => 'owner');
         insert into t values (1, 'globex', null), (2, 'acme', 'bob'), (3, null, null)",
    )
    .await;
    let bridge = Bridge::start(&db).await;
    let mut answers = Vec::new();
    for id in [1, 2, 3, 4] {
        let path = format!("/v1/tenants/acme/watched/t/{id}");
        let answer =
            Answer::of(bridge.request("GET", &path).bearer_auth(member("acme")).header("x-request-id", "same")).await;
        let mut headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.retain(|header| !header.starts_with("date:"));
        answers.push((answer.status, headers, answer.body));
    }
    assert!(answers.iter().all(|answer| answer.0 == 404 && *answer == answers[3]), "{answers:?}");
    let (status, rows) = poll(&bridge, &member("acme"), "acme", "t?keys=1,2,3,4").await;
    assert_eq!((status, &rows["rows"]), (200, &json!([])));
    assert_eq!(poll(&bridge, &member("globex"), "acme", "t/1").await.0, 403);
    assert_eq!(Answer::of(bridge.request("GET", "/v1/tenants/acme/watched/t/1")).await.problem().0, 401);
}

#[tokio::test]
async fn keys_of_any_shape_are_found() {
    let db = Database::new().await;
    db.run(
        r#"create type mood as enum ('sad', 'ok'); create domain code as text check (value <> '');
           create table composite (a text, tenant text, b text, primary key (b, a)); select tidings.watch('composite', tenant => 'tenant');
           insert into composite values ('1', 'acme', 'x'), ('y,z', 'acme', 'w'), ('q', 'acme', 'w,y');
           create table texts (id text primary key, tenant text); select tidings.watch('texts', tenant => 'tenant');
           insert into texts values ('a/b c', 'acme'), ('100%', 'acme'), ('a,b', 'acme'), ('ключ?#', 'acme'), (''' or true --', 'acme');
           create table moods (m mood, c code, at timestamptz, tenant text, primary key (m, c, at)); select tidings.watch('moods', tenant => 'tenant');
           insert into moods values ('ok', 'q', '2026-03-04 05:06:07+00', 'acme');
           create table uuids (id uuid primary key, tenant text); select tidings.watch('uuids', tenant => 'tenant');
           insert into uuids values ('5d1c0000-0000-4000-8000-000000000000', 'acme');
           create table named (id int primary key, tenant text, slug text); select tidings.watch('named', tenant => 'tenant', subject => '{slug,=id * 2}');
           insert into named values (4, 'acme', 'four');
           create table sparse (id int primary key, tenant text, a text, b text); select tidings.watch('sparse', tenant => 'tenant', subject => '{a,b}');
           insert into sparse values (1, 'acme', null, 'only'), (2, 'acme', 'first', null);
           create table parts (id int primary key, tenant text) partition by range (id); create table parts_1 partition of parts for values from (0) to (9);
           select tidings.watch('parts', tenant => 'tenant'); insert into parts values (1, 'acme');
           create table lists (id int[] primary key, tenant text); select tidings.watch('lists', tenant => 'tenant'); insert into lists values ('{1,2}', 'acme')"#,
    )
    .await;
    let bridge = Bridge::start(&db).await;
    // An event's subject is the key, whatever it holds.
    let events = get_page(&bridge, &member("acme"), "acme", "").await.events;
    assert_eq!(events.len(), 15);
    for event in events {
        let (table, subject) =
            (event["type"].as_str().unwrap().trim_end_matches(".inserted"), event["subject"].as_str().unwrap());
        let encoded: String = subject.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (status, row) = poll(&bridge, &member("acme"), "acme", &format!("{table}/{encoded}")).await;
        assert_eq!(
            (status, &row["key"], &row["data"]),
            (200, &event["subject"], &event["data"]),
            "{table} {subject}: {row}"
        );
    }
    let (_, rows) =
        poll(&bridge, &member("acme"), "acme", "texts?keys=100%25,nothing,%D0%BA%D0%BB%D1%8E%D1%87%3F%23").await;
    assert_eq!(rows["rows"].as_array().unwrap().len(), 2, "{rows}");
}

#[tokio::test]
async fn keys_that_no_row_can_have_are_not_found() {
    let db = Database::new().await;
    db.run(
        "create table t (id int primary key, tenant text); select tidings.watch('t', tenant => 'tenant'); insert into t values (7, 'acme');
         create table two (a int, b date, tenant text, primary key (a, b)); select tidings.watch('two', tenant => 'tenant')",
    )
    .await;
    let bridge = Bridge::start(&db).await;
    for key in
        ["x", "99999999999999999999", "7.0", "07", "7%20", "7,7", "'", "%27%3B%20drop%20table%20t", "null", "{7}"]
    {
        assert_eq!(refusal(&bridge, &format!("t/{key}")).await, refused(404, "no_row"), "{key}");
    }
    for key in ["1", "1,", ",", "x,2026-01-01", "1,2026-02-30", "1,2026-01-01,3"] {
        assert_eq!(refusal(&bridge, &format!("two/{key}")).await, refused(404, "no_row"), "{key}");
    }
    let (status, rows) = poll(&bridge, &member("acme"), "acme", "t?keys=x,7,99999999999999999999").await;
    assert_eq!((status, &rows["rows"][0]["key"], rows["rows"].as_array().unwrap().len()), (200, &json!("7"), 1));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_by_name() {
    let db = Database::new().await;
    db.run(
        r#"create table nokey (a int, tenant text); select tidings.watch('nokey', tenant => 'tenant');
           create schema other; create table t (id int primary key, tenant text); create table other.t (id int primary key, tenant text);
           select tidings.watch('t', tenant => 'tenant'), tidings.watch('other.t', tenant => 'tenant');
           insert into t values (1, 'acme'); insert into other.t values (1, 'acme'), (2, 'acme');
           create table "Mixed Case" ("Id" int primary key, "tenantId" text); select tidings.watch('"Mixed Case"', tenant => 'tenantId');
           insert into "Mixed Case" values (1, 'acme'); create table unwatched (id int primary key)"#,
    )
    .await;
    let bridge = Bridge::start(&db).await;
    let many = (0..101).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let long = "1".repeat(1025);
    for (rest, expected) in [
        ("unwatched/1", refused(404, "not_watched")),
        ("tidings._log/1", refused(404, "not_watched")),
        ("%00/1", refused(404, "not_found")),
        ("t%27/1", refused(404, "not_watched")),
        (&*format!("documents/{long}"), refused(404, "not_found")),
        (&*format!("documents?keys={many}"), refused(422, "invalid_field")),
        (&*format!("documents?keys={long}"), refused(422, "invalid_field")),
        ("documents?keys=", refused(422, "invalid_field")),
        ("documents?keys=,,", refused(422, "invalid_field")),
        ("documents?keys=%00", refused(422, "invalid_field")),
        ("documents", refused(422, "invalid_field")),
        ("nokey/1", refused(422, "invalid_field")),
        ("mixed%20case/1", refused(404, "not_watched")),
    ] {
        assert_eq!(refusal(&bridge, rest).await, expected, "{rest}");
    }
    let field = async |rest: &str| poll(&bridge, &member("acme"), "acme", rest).await.1["field"].clone();
    assert_eq!((field("documents?keys=").await, field("nokey/1").await), (json!("keys"), json!("table")));
    for (rest, status) in
        [("t/1", 422), ("public.t/1", 200), ("other.t/2", 200), ("public.t/2", 404), ("Mixed%20Case/1", 200)]
    {
        assert_eq!(poll(&bridge, &member("acme"), "acme", rest).await.0, status, "{rest}");
    }
    db.run("select tidings.watch('other.t', tenant => 'tenant', type => 'others')").await;
    assert_eq!(poll(&bridge, &member("acme"), "acme", "others/2").await.0, 200, "by the type of its events");
}

#[tokio::test]
async fn what_a_token_may_not_see_is_not_there_whatever_is_wrong_with_it() {
    let db = Database::new().await;
    db.run(
        "create table nokey (a int, tenant text); select tidings.watch('nokey', tenant => 'tenant');
         create schema other; create table t (id int primary key, tenant text); create table other.t (id int primary key, tenant text);
         select tidings.watch('t', tenant => 'tenant'), tidings.watch('other.t', tenant => 'tenant')",
    )
    .await;
    let bridge = Bridge::start(&db).await;
    let narrow = token(json!({"sub": "ann", "tenant": "acme", "events": "documents.*"}));
    let mut bodies = Vec::new();
    for rest in ["nowhere/1", "nokey/1", "t/1", "notifications/1"] {
        bodies.push(poll(&bridge, &narrow, "acme", rest).await);
    }
    assert!(bodies.iter().all(|body| body.0 == 404 && *body == bodies[0]), "{bodies:?}");
}

#[tokio::test]
async fn a_subscription_from_a_polls_cursor_misses_and_repeats_nothing() {
    let db = Database::new().await;
    db.run("create table t (id int primary key, tenant text, step int); select tidings.watch('t', tenant => 'tenant'); insert into t values (1, 'acme', 0), (2, 'acme', 0)").await;
    let bridge = Bridge::start(&db).await;
    let stop = AtomicBool::new(false);
    let write = async |id: i32| {
        let client = db.connect().await;
        while !stop.load(Ordering::Relaxed) {
            client
                .batch_execute(&format!("begin; update t set step = step + 1 where id = {id}; commit"))
                .await
                .unwrap();
        }
    };
    let read = async {
        let mut checked = 0;
        while checked < 40 {
            let (_, row) = poll(&bridge, &member("acme"), "acme", "t/1").await;
            let mut sse = Sse::resume(&bridge, &member("acme"), "acme", row["cursor"].as_str().unwrap()).await;
            let next = loop {
                match sse.next().await {
                    event if event["subject"] == "1" => break event,
                    _ => {}
                }
            };
            let (state, then) = (row["data"]["step"].as_i64().unwrap(), next["data"]["step"].as_i64().unwrap());
            assert_eq!(then, state + 1, "after {checked} polls");
            checked += 1;
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(write(1), write(2), read);
}

#[tokio::test]
async fn a_table_is_made_live_with_polling_and_events_by_one_file() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "?types=cases.*").await;
    db.run("create table cases (id text primary key, tenant_id text not null, title text, state text not null default 'open')").await;

    let folder = std::env::temp_dir().join(format!("tidings-cases-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("cases.sql"), "select * from tidings.watch('public.cases', tenant => 'tenant_id');\n")
        .unwrap();
    let applied = tidings(&["triggers", "apply"]).arg(&folder).env("DATABASE_URL", &db.url).output().await.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert!(
        applied.status.success() && String::from_utf8_lossy(&applied.stdout).contains("watching public.cases"),
        "{applied:?}"
    );

    db.run("insert into cases values ('c-1', 'acme', 'Broken lamp'); update cases set state = 'closed'").await;
    let events = sse.take(2).await;
    assert_eq!(
        (&events[0]["type"], &events[1]["type"], &events[1]["changed"]),
        (&json!("cases.inserted"), &json!("cases.updated"), &json!("state"))
    );
    let (_, found) = poll(&bridge, &member("acme"), "acme", "cases/c-1").await;
    assert_eq!((&found["table"], &found["key"], &found["data"]), (&json!("cases"), &json!("c-1"), &events[1]["data"]));
}
