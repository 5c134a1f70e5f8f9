//! Polling: pages that end, cursors that go on, and waiting that returns when there is something.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Bridge, Database, admin, events_of, eventually, get_page, member};

fn types(events: &[Value]) -> Vec<String> {
    events_of(events).into_iter().map(|(kind, _)| kind).collect()
}

async fn emit(db: &Database, kinds: &[&str]) {
    for kind in kinds {
        db.run(&format!("select tidings.emit('acme', '{kind}')")).await;
    }
}

#[tokio::test]
async fn pages_begin_at_the_oldest_and_their_cursors_go_on() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    emit(&db, &["a", "b", "c", "d", "e"]).await;
    let (mut query, mut told) = ("?limit=2".to_owned(), Vec::new());
    for _ in 0..4 {
        let page = get_page(&bridge, &token, "acme", &query).await;
        told.push((types(&page.events).join(""), page.more));
        query = format!("?limit=2&after={}", page.cursor);
    }
    assert_eq!(told, [("ab".into(), true), ("cd".into(), true), ("e".into(), false), (String::new(), false)]);
    emit(&db, &["f"]).await;
    assert_eq!(types(&get_page(&bridge, &token, "acme", &query).await.events), ["f"]);
}

#[tokio::test]
async fn a_page_from_now_holds_nothing_of_the_past_and_its_cursor_all_that_comes() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    emit(&db, &["past"]).await;
    let now = get_page(&bridge, &token, "acme", "?after=now").await;
    assert_eq!((now.events.len(), now.more), (0, false));
    emit(&db, &["next"]).await;
    let query = format!("?after={}", now.cursor);
    assert_eq!(types(&get_page(&bridge, &token, "acme", &query).await.events), ["next"]);
}

#[tokio::test]
async fn a_page_that_is_just_full_says_that_there_is_no_more() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    emit(&db, &["a", "b"]).await;
    let page = get_page(&bridge, &member("acme"), "acme", "?limit=2").await;
    assert_eq!((page.events.len(), page.more), (2, false));
}

#[tokio::test]
async fn the_id_of_any_event_of_a_page_is_a_cursor_too() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    emit(&db, &["a", "b", "c"]).await;
    let events = get_page(&bridge, &member("acme"), "acme", "").await.events;
    for (index, event) in events.iter().enumerate() {
        let query = format!("?after={}", event["id"].as_str().unwrap());
        assert_eq!(get_page(&bridge, &member("acme"), "acme", &query).await.events, events[index + 1..]);
    }
}

#[tokio::test]
async fn a_narrow_filter_finds_its_event_however_many_others_there_are() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    db.run("select tidings.emit('acme', 'noise') from generate_series(1, 100)").await;
    emit(&db, &["wanted"]).await;
    db.run("select tidings.emit('acme', 'noise') from generate_series(1, 100)").await;
    let mut page = get_page(&bridge, &member("acme"), "acme", "?limit=1&types=wanted").await;
    let (mut found, mut pages) = (page.events, 1);
    while page.more {
        page =
            get_page(&bridge, &member("acme"), "acme", &format!("?limit=1&types=wanted&after={}", page.cursor)).await;
        found.extend(page.events);
        pages += 1;
        assert!(pages < 60, "pages do not end");
    }
    assert_eq!(types(&found), ["wanted"]);
}

/// Writes until told to stop, a few statements a transaction, now and then rolled back.
async fn write(client: tokio_postgres::Client, writer: usize, stop: CancellationToken) {
    let mut turn = writer;
    while !stop.is_cancelled() {
        turn += 1;
        let row = turn % 30;
        client.batch_execute("begin").await.unwrap();
        for id in [row, row + 1] {
            client.batch_execute(&format!("update counters set v = v + 1 where id = {id}")).await.unwrap();
        }
        client.batch_execute(if turn.is_multiple_of(7) { "rollback" } else { "commit" }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_one_terminate_and_are_complete() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let token = member("acme");
    db.run(
        "create table counters (id int primary key, tenant_id text not null, v bigint not null);
         select tidings.watch('counters', tenant => 'tenant_id');
         insert into counters select i, 'acme', 0 from generate_series(0, 31) i; update counters set v = v + 1",
    )
    .await;
    let (stop, mut writers) = (CancellationToken::new(), JoinSet::new());
    for writer in 0..8 {
        writers.spawn(write(db.connect().await, writer, stop.clone()));
    }
    eventually("the writers write", || async {
        db.text("select (count(*) > 150)::text from tidings.events").await == "true"
    })
    .await;

    // In one reading the end does not run away; this one takes its snapshot while all write.
    let mut page = get_page(&bridge, &token, "acme", "?limit=1").await;
    let mut read = page.events;
    while page.more {
        page = get_page(&bridge, &token, "acme", &format!("?limit=1&after={}", page.cursor)).await;
        assert!(page.events.len() <= 1);
        read.extend(page.events);
    }
    assert_eq!(writers.len(), 8, "they write on");
    stop.cancel();
    writers.join_all().await;
    loop {
        page = get_page(&bridge, &token, "acme", &format!("?limit=1000&after={}", page.cursor)).await;
        read.extend(page.events);
        if !page.more {
            break;
        }
    }

    let mut last: HashMap<&str, i64> = HashMap::new();
    for event in &read {
        let v = event["data"]["v"].as_i64().unwrap();
        let before = last.insert(event["subject"].as_str().unwrap(), v);
        assert_eq!(v, before.map_or(0, |before| before + 1), "{event} after {before:?}: lost, twice, or out of order");
    }
    assert_eq!(read.len().to_string(), db.text("select count(*)::text from tidings.events").await);
}

async fn waiting(bridge: &Bridge) {
    eventually("the request waits", || async {
        let stats = bridge.get_as(&admin(), "/v1/stats").await.1;
        stats["connections"].as_array().unwrap().iter().any(|row| row["transport"] == "json")
    })
    .await;
}

#[tokio::test]
async fn waiting_ends_with_the_first_event_that_matches_and_not_with_another() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let before = get_page(&bridge, &member("acme"), "acme", "").await.cursor;
    let token = member("acme");
    let query = format!("?wait=60&types=wanted&subject=s&after={before}");
    let begun = std::time::Instant::now();
    let happens = async {
        waiting(&bridge).await;
        emit(&db, &["unwanted", "wanted"]).await;
        db.run("select tidings.emit('globex', 'wanted', '{}', 's'); select tidings.emit('acme', 'wanted', '{}', 's', 'bob')").await;
        db.run("select tidings.emit('acme', 'wanted', '1', 's')").await;
    };
    let (page, ()) = tokio::join!(get_page(&bridge, &token, "acme", &query), happens);
    let data: Vec<&Value> = page.events.iter().map(|event| &event["data"]).collect();
    assert_eq!(data, [&json!(1)]);
    assert!(begun.elapsed().as_secs() < 20, "it waited to the end");
}

#[tokio::test]
async fn waiting_does_not_miss_what_came_between_two_requests() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let mut cursor = get_page(&bridge, &member("acme"), "acme", "").await.cursor;
    for number in 0..30 {
        db.run(&format!("select tidings.emit('acme', 'n{number}')")).await;
        let page = get_page(&bridge, &member("acme"), "acme", &format!("?wait=60&after={cursor}")).await;
        assert_eq!(types(&page.events), [format!("n{number}")]);
        cursor = page.cursor;
    }
}

#[tokio::test]
async fn waiting_in_vain_gives_an_empty_page_whose_cursor_goes_on() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let before = get_page(&bridge, &member("acme"), "acme", "").await.cursor;
    let page = get_page(&bridge, &member("acme"), "acme", &format!("?wait=1&after={before}")).await;
    assert_eq!((page.events.len(), page.more), (0, false));
    emit(&db, &["a"]).await;
    let page = get_page(&bridge, &member("acme"), "acme", &format!("?wait=20&after={}", page.cursor)).await;
    assert_eq!(types(&page.events), ["a"]);
}

#[tokio::test]
async fn a_value_out_of_range_is_refused_by_name() {
    let bridge = Bridge::start(&Database::new().await).await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("wait=61", "wait"),
        ("wait=1.5", "wait"),
        ("types=a,,b", "types"),
        ("types=a%20b", "types"),
        ("after=nonsense", "after"),
    ] {
        let (status, problem) = bridge.get_as(&member("acme"), &format!("/v1/tenants/acme/events?{query}")).await;
        assert_eq!(
            (status, &problem["code"], &problem["field"]),
            (422, &json!("invalid_field"), &json!(field)),
            "{query}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(field), "{problem}");
    }
}

#[tokio::test]
async fn a_page_is_never_cached() {
    let bridge = Bridge::start(&Database::new().await).await;
    let request = bridge.request("GET", "/v1/tenants/acme/events").bearer_auth(member("acme"));
    assert_eq!(crate::support::Answer::of(request).await.header("cache-control"), "no-store");
}
