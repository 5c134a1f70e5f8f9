//! What changed since a cursor: by polling and by subscribing, under writers who never stop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::{Bridge, Database, Sse, member, token};

const DOCUMENTS: &str = "/v1/tenants/acme/documents";

async fn get(bridge: &Bridge, rest: &str) -> (u16, Value) {
    bridge.get_as(&member("acme"), &format!("{DOCUMENTS}{rest}")).await
}

/// Sizes by id.
fn sizes(list: &Value) -> BTreeMap<String, i64> {
    let rows = list["documents"].as_array().unwrap().iter();
    rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row["size"].as_i64().unwrap())).collect()
}

async fn cursor(bridge: &Bridge) -> String {
    get(bridge, "").await.1["cursor"].as_str().unwrap().to_owned()
}

/// One transaction of a writer: it touches a document early, another late, and does nothing in between for a while.
async fn write(client: &Client, writer: usize, round: usize) {
    let touch = |n: usize| format!("update documents set size = size + 1 where id = 'd{writer}-{}'", n % 4);
    let pause = if round.is_multiple_of(3) { "select pg_sleep(0.03);" } else { "" };
    let (first, second) = (touch(round), touch(round + 1));
    let sql = match round % 5 {
        4 => format!("begin; {first}; rollback"),
        3 => format!(
            "begin; {first}; {pause} insert into documents (id, tenant_id, name, size) values ('n{writer}-{round}', 'acme', 'n', 1); commit"
        ),
        _ => format!("begin; {first}; {pause} {second}; commit"),
    };
    client.batch_execute(&sql).await.unwrap();
}

async fn seed(db: &Database) {
    db.run("insert into documents (id, tenant_id, name, size) select 'd' || w || '-' || n, 'acme', 'n', 0 from generate_series(0, 3) w, generate_series(0, 3) n").await;
}

#[tokio::test]
async fn polling_by_cursor_shows_the_last_state_of_every_document_that_changed() {
    let db = Database::new().await;
    seed(&db).await;
    let bridge = Bridge::start(&db).await;
    let (_, list) = get(&bridge, "?limit=200").await;
    let (mut held, mut after) = (sizes(&list), list["cursor"].as_str().unwrap().to_owned());
    let writing = AtomicUsize::new(4);
    let work = async |writer: usize| {
        let client = db.connect().await;
        for round in 0..40 {
            write(&client, writer, round).await;
        }
        client.batch_execute(&format!("delete from documents where id = 'n{writer}-3'")).await.unwrap();
        writing.fetch_sub(1, Ordering::SeqCst);
    };
    let poll = async {
        loop {
            let done = writing.load(Ordering::SeqCst) == 0;
            let (status, changes) = get(&bridge, &format!("?after={after}&limit=3")).await;
            assert_eq!(status, 200, "{changes}");
            let found = sizes(&changes);
            let gone = changes["deleted"].as_array().unwrap();
            assert!(found.len() + gone.len() <= 3, "{changes}");
            let nothing = found.is_empty() && gone.is_empty();
            held.extend(found);
            gone.iter().for_each(|id| _ = held.remove(id.as_str().unwrap()));
            changes["cursor"].as_str().unwrap().clone_into(&mut after);
            if done && nothing && changes["more"] == false {
                break;
            }
        }
    };
    tokio::join!(work(0), work(1), work(2), work(3), poll);
    let (_, now) = get(&bridge, "?limit=200").await;
    assert_eq!(held, sizes(&now));
    assert_eq!(held.len(), 16 + 4 * 7, "what was inserted and not deleted");
}

#[tokio::test]
async fn a_list_and_a_stream_from_its_cursor_show_each_change_once() {
    let db = Database::new().await;
    seed(&db).await;
    let bridge = Bridge::start(&db).await;
    let stop = AtomicBool::new(false);
    let work = async |writer: usize| {
        let client = db.connect().await;
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            write(&client, writer, round).await;
            round += 1;
        }
    };
    let read = async {
        for round in 0..25 {
            let (_, list) = get(&bridge, "?limit=200").await;
            let mut held = sizes(&list);
            let at = list["cursor"].as_str().unwrap();
            let mut sse = Sse::resume(&bridge, &member("acme"), "acme", at).await;
            for event in sse.take(20).await {
                let (id, size) =
                    (event["subject"].as_str().unwrap().to_owned(), event["data"]["size"].as_i64().unwrap());
                match event["type"].as_str().unwrap() {
                    "documents.inserted" => assert_eq!(held.insert(id, size), None, "round {round}: {event}"),
                    _ => assert_eq!(held.insert(id, size), Some(size - 1), "round {round}: {event}"),
                }
            }
            db.run("delete from documents where id like 'n%' and id not in (select id from documents where id like 'n%' order by created_at desc limit 20)").await;
            db.sentinel("acme").await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(work(0), work(1), work(2), read);
}

#[tokio::test]
async fn a_poll_shows_each_changed_document_once_as_it_is_now_and_names_those_that_are_gone() {
    let db = Database::new().await;
    db.run("insert into documents (id, tenant_id, name) values ('a', 'acme', 'n'), ('b', 'acme', 'n'), ('c', 'acme', 'n'), ('g', 'globex', 'n')").await;
    let bridge = Bridge::start(&db).await;
    let after = cursor(&bridge).await;
    assert_eq!(
        get(&bridge, &format!("?after={after}")).await.1["documents"],
        json!([]),
        "nothing changed since the list"
    );
    db.run(
        "update documents set size = 1 where id = 'a'; update documents set size = 2 where id in ('a', 'g'); delete from documents where id = 'b';
         insert into documents (id, tenant_id, name) values ('new', 'acme', 'n'); insert into documents (id, tenant_id, name) values ('short', 'acme', 'n');
         delete from documents where id = 'short'; update documents set tenant_id = 'globex' where id = 'c'",
    )
    .await;
    let (_, changes) = get(&bridge, &format!("?after={after}")).await;
    let mut members: Vec<&String> = changes.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["cursor", "deleted", "documents", "more", "poll_after_ms"]);
    let shown: Vec<(&Value, &Value)> =
        changes["documents"].as_array().unwrap().iter().map(|row| (&row["id"], &row["size"])).collect();
    assert_eq!(shown, [(&json!("new"), &Value::Null), (&json!("a"), &json!(2))]);
    assert_eq!((&changes["deleted"], &changes["more"]), (&json!(["b", "c", "short"]), &json!(false)));
    let (_, nothing) = get(&bridge, &format!("?after={}", changes["cursor"].as_str().unwrap())).await;
    assert_eq!((&nothing["documents"], &nothing["deleted"]), (&json!([]), &json!([])));
    // An event's id is a cursor too; a poll that is cut says so and goes on.
    let (_, page) = bridge.get_as(&member("acme"), &format!("/v1/tenants/acme/events?after={after}&limit=1")).await;
    let id = page["events"][0]["id"].as_str().unwrap();
    let (_, cut) = get(&bridge, &format!("?after={id}&limit=1")).await;
    assert_eq!((&cut["documents"][0]["id"], &cut["more"]), (&json!("a"), &json!(true)));
    let rest = get(&bridge, &format!("?after={}", cut["cursor"].as_str().unwrap())).await.1;
    assert_eq!((rest["documents"].as_array().unwrap().len(), &rest["more"]), (1, &json!(false)), "{rest}");
}

#[tokio::test]
async fn a_token_polls_only_the_changes_that_its_globs_let_through() {
    let db = Database::new().await;
    db.run("insert into documents (id, tenant_id, name) values ('a', 'acme', 'n')").await;
    let bridge = Bridge::start(&db).await;
    let after = cursor(&bridge).await;
    db.run("update documents set size = 1; insert into documents (id, tenant_id, name) values ('b', 'acme', 'n')")
        .await;
    for (globs, expected) in [("documents.inserted", json!(["b"])), ("documents.updated", json!(["a"]))] {
        let token = token(json!({"sub": "ann", "tenant": "acme", "events": globs}));
        let (_, changes) = bridge.get_as(&token, &format!("{DOCUMENTS}?after={after}")).await;
        let ids: Vec<&Value> = changes["documents"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
        assert_eq!(json!(ids), expected, "{globs}");
    }
}

#[tokio::test]
async fn a_cursor_that_nothing_can_be_told_from_is_refused_and_not_answered_with_nothing() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let code = async |rest: &str| {
        let (status, problem) = get(&bridge, rest).await;
        (status, problem["code"].as_str().unwrap_or_default().to_owned())
    };
    let after = cursor(&bridge).await;
    let mut parts: Vec<&str> = after.split('.').collect();
    parts[1] = "0000";
    let elsewhere = parts.join(".");
    assert_eq!(code(&format!("?after={elsewhere}")).await, (410, "history_changed".into()));
    assert_eq!(code("?after=1-1000-1").await, (410, "cursor_unknown".into()));
    for (change, status) in [
        ("select tidings.pause('documents')", 501),
        ("select tidings.resume('documents')", 200),
        ("select tidings.watch('documents', tenant => 'tenant_id', ops => '{insert}')", 501),
        ("select tidings.watch('documents', tenant => 'tenant_id', ops => '{insert,update}')", 200),
        ("select tidings.unwatch('documents')", 501),
    ] {
        db.run(change).await;
        let (found, body) = get(&bridge, &format!("?after={after}")).await;
        assert_eq!(found, status, "{change}: {body}");
        if status == 501 {
            assert_eq!(body["code"], "not_watched_here");
            assert!(body["detail"].as_str().unwrap().contains("If-None-Match"), "{body}");
        }
        assert_eq!(get(&bridge, "").await.0, 200, "the list itself is there");
    }
}
