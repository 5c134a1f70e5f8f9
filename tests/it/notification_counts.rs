//! Read state and its counts, with everybody at it at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Bridge, Database, member, token};

const NOTIFICATIONS: &str = "/v1/tenants/acme/notifications";

fn user(name: &str) -> String {
    token(json!({"sub": name, "tenant": "acme"}))
}

async fn unread(bridge: &Bridge, token: &str) -> Value {
    bridge.get_as(token, NOTIFICATIONS).await.1["unread_count"].clone()
}

#[tokio::test]
async fn two_windows_that_mark_at_once_agree_and_one_of_them_tells() {
    let db = Database::new().await;
    let (one, two) = (Bridge::start(&db).await, Bridge::start(&db).await);
    for round in 0..30 {
        let id = format!("n{round}");
        db.run(&format!(
            "insert into notifications (id, tenant_id, type, title, message) values ('{id}', 'acme', 'note', 't', 'm')"
        ))
        .await;
        let path = format!("{NOTIFICATIONS}/{id}");
        let (body, token) = (json!({"read": true}), member("acme"));
        let (first, second) =
            tokio::join!(one.send_as(&token, "PATCH", &path, &body), two.send_as(&token, "PATCH", &path, &body));
        assert_eq!((first.0, second.0, &first.1["read"], &second.1["read"]), (200, 200, &json!(true), &json!(true)));
        let told =
            format!("select count(*)::text from tidings.events where type = 'notifications.read' and subject = '{id}'");
        assert_eq!(db.text(&told).await, "1", "round {round}");
    }
    assert_eq!(unread(&one, &member("acme")).await, 0);
}

#[tokio::test]
async fn the_count_of_unread_notifications_is_right_whoever_writes_and_marks_meanwhile() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let busy = AtomicUsize::new(8);
    // Four write, two mark one by one, two mark all; of two users.
    let write = async |writer: usize| {
        let client = db.connect().await;
        for i in 0..25 {
            let pause = if i % 4 == 0 { "select pg_sleep(0.01);" } else { "" };
            let insert = format!(
                "insert into notifications (id, tenant_id, type, title, message) values ('w{writer}-{i}', 'acme', 'note', 't', 'm')"
            );
            client.batch_execute(&format!("begin; {insert}; {pause} commit")).await.unwrap();
        }
        busy.fetch_sub(1, Ordering::SeqCst);
    };
    let mark = async |name: &str| {
        for i in 0..25 {
            for read in [true, i % 3 != 0] {
                let path = format!("{NOTIFICATIONS}/w{}-{i}", i % 4);
                let (status, _) = bridge.send_as(&user(name), "PATCH", &path, &json!({"read": read})).await;
                assert!(status == 200 || status == 404, "{status}");
            }
        }
        busy.fetch_sub(1, Ordering::SeqCst);
    };
    let mark_all = async |name: &str| {
        for _ in 0..10 {
            let (status, done) = bridge.post_as(&user(name), &format!("{NOTIFICATIONS}/read-all"), &json!({})).await;
            assert_eq!(status, 200, "{done}");
        }
        busy.fetch_sub(1, Ordering::SeqCst);
    };
    // A list and its count are of one snapshot at every moment.
    let check = async {
        while busy.load(Ordering::SeqCst) > 0 {
            let (_, list) = bridge.get_as(&user("ann"), &format!("{NOTIFICATIONS}?limit=100&archived=true")).await;
            let shown = list["notifications"].as_array().unwrap().iter().filter(|row| row["read"] == false).count();
            assert_eq!(list["unread_count"], shown, "{list}");
        }
    };
    tokio::join!(
        write(0),
        write(1),
        write(2),
        write(3),
        mark("ann"),
        mark("bob"),
        mark_all("ann"),
        mark_all("bob"),
        check
    );
    for name in ["ann", "bob"] {
        let counted = format!(
            "select (100 - count(*) filter (where read_at is not null))::text from notification_reads where tenant_id = 'acme' and user_id = '{name}'"
        );
        assert_eq!(unread(&bridge, &user(name)).await.to_string(), db.text(&counted).await, "{name}");
        let (_, done) = bridge.post_as(&user(name), &format!("{NOTIFICATIONS}/read-all"), &json!({})).await;
        assert_eq!((&done["unread_count"], unread(&bridge, &user(name)).await), (&json!(0), json!(0)));
    }
    assert_eq!(unread(&bridge, &user("eve")).await, 100);
}

#[tokio::test]
async fn polling_by_cursor_shows_every_notification_also_those_of_slow_transactions() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (_, list) = bridge.get_as(&member("acme"), NOTIFICATIONS).await;
    let mut since = list["cursor"].as_str().unwrap().to_owned();
    let busy = AtomicUsize::new(3);
    let write = async |writer: usize| {
        let client = db.connect().await;
        for i in 0..40 {
            let pause = if (i + writer).is_multiple_of(5) { "select pg_sleep(0.04);" } else { "" };
            let insert = format!(
                "insert into notifications (id, tenant_id, type, title, message) values ('w{writer}-{i}', 'acme', 'note', 't', 'm')"
            );
            client.batch_execute(&format!("begin; {insert}; {pause} commit")).await.unwrap();
        }
        busy.fetch_sub(1, Ordering::SeqCst);
    };
    let mut seen = Vec::new();
    let poll = async {
        loop {
            let done = busy.load(Ordering::SeqCst) == 0;
            let (status, page) =
                bridge.get_as(&member("acme"), &format!("{NOTIFICATIONS}?since={since}&limit=4")).await;
            assert_eq!(status, 200, "{page}");
            page["cursor"].as_str().unwrap().clone_into(&mut since);
            let found = page["notifications"].as_array().unwrap();
            seen.extend(found.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            if done && found.is_empty() && page["more"] == false {
                assert_eq!(page["unread_count"], 120);
                break;
            }
        }
    };
    tokio::join!(write(0), write(1), write(2), poll);
    seen.sort();
    let mut expected: Vec<String> = (0..3).flat_map(|w| (0..40).map(move |i| format!("w{w}-{i}"))).collect();
    expected.sort();
    assert_eq!(seen, expected, "each once");
}
