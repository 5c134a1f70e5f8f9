//! A cursor that cannot be resumed from is told so before anything newer, and says nothing about whose it was.

use serde_json::{Value, json};

use crate::support::{Bridge, Database, Sse, Ws, eventually, get_page, member};

/// The codes with which a page, a stream and a socket answer a cursor that they cannot resume from; all agree on the reason.
async fn refusal(bridge: &Bridge, after: &str) -> Value {
    let (status, problem) = bridge.get_as(&member("acme"), &format!("/v1/tenants/acme/events?after={after}")).await;
    assert_eq!(status, 410, "{after}: {problem}");
    for mut sse in [
        Sse::resume(bridge, &member("acme"), "acme", after).await,
        Sse::open(bridge, &member("acme"), "acme", &format!("?after={after}")).await,
    ] {
        assert_eq!(sse.hello["resumed"], false);
        let reset = sse.block().await.unwrap();
        let told: Value = serde_json::from_str(&reset.data).unwrap();
        assert_eq!((reset.event.as_str(), &told["reason"]), ("reset", &problem["code"]));
        assert_eq!((&told["cursor"], reset.id.as_str()), (&sse.hello["cursor"], told["cursor"].as_str().unwrap()));
    }
    let mut ws = Ws::connect(bridge, &member("acme")).await;
    assert_eq!(ws.subscribe("s", "acme", json!({"after": after})).await["resumed"], false);
    let told = ws.frame().await.unwrap();
    assert_eq!((&told["type"], &told["id"], &told["reason"]), (&"reset".into(), &"s".into(), &problem["code"]));
    problem
}

#[tokio::test]
async fn another_tenants_event_is_answered_like_one_that_never_was() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let theirs = db.text("select tidings.emit('globex', 'n')").await;
    let mut gus = Sse::resume(&bridge, &member("globex"), "globex", &theirs).await;
    db.sentinel("globex").await;
    assert_eq!((gus.hello["resumed"].as_bool(), gus.until_sentinel().await), (Some(true), vec![]));
    let never = format!("{}0", theirs.rsplit_once('-').unwrap().0.to_owned() + "-");
    let fresh = Bridge::start(&db).await;
    for bridge in [&bridge, &fresh] {
        assert_eq!(refusal(bridge, &theirs).await, refusal(bridge, &never).await);
        assert_eq!(refusal(bridge, &never).await["code"], "cursor_unknown");
    }
}

#[tokio::test]
async fn a_cursor_of_another_database_is_told_reset() {
    let (db, other) = (Database::new().await, Database::new().await);
    let id = other.text("select tidings.emit('acme', 'n')").await;
    let cursor = other.text("select tidings.cursor()").await;
    db.run("select tidings.emit('acme', 'n')").await;
    let elsewhere = Bridge::start(&other).await;
    other.run("select tidings.emit('acme', 'n') from generate_series(1, 3)").await;
    let page = get_page(&elsewhere, &member("acme"), "acme", "?limit=1").await;
    assert!(page.more);
    let hello = Sse::open(&elsewhere, &member("acme"), "acme", "").await.hello["cursor"].as_str().unwrap().to_owned();
    let bridge = Bridge::start(&db).await;
    for foreign in [id, cursor, hello, page.cursor] {
        refusal(&bridge, &foreign).await;
    }
}

/// A cursor that names no open transaction. Those of other databases count too, and tests run beside each other.
async fn quiet_cursor(db: &Database) -> String {
    let cursor = || db.text("select tidings.cursor()");
    eventually("no transaction is open", || async { !cursor().await.split('.').nth(3).unwrap().contains('-') }).await;
    cursor().await
}

/// Retention has passed over everything that the log holds.
async fn forget(db: &Database) {
    for _ in 0..8 {
        eventually("the ring of partitions moves on", || async {
            let moved = db.client.query_one("select tidings._rotate('0')", &[]).await;
            moved.is_ok_and(|row| row.get(0))
        })
        .await;
    }
    // A transaction this old that was open when a cursor was taken, and is not any more, would have to be taken for removed.
    let outlived = "select (pg_snapshot_xmin(pg_current_snapshot()) > xid)::text from tidings._pruned";
    eventually("no transaction is as old as what was removed", || async { db.text(outlived).await == "true" }).await;
}

#[tokio::test]
async fn a_cursor_outside_retention_is_told_reset_first() {
    let db = Database::new().await;
    let before = Bridge::start(&db).await;
    let id = db.text("select tidings.emit('acme', 'n')").await;
    let cursor = db.text("select tidings.cursor()").await;
    db.run("select tidings.emit('acme', 'lost') from generate_series(1, 3)").await;
    let page = get_page(&before, &member("acme"), "acme", "?limit=2").await.cursor;
    before.stop().await;
    forget(&db).await;
    let bridge = Bridge::start(&db).await;
    for expired in [&id, &cursor, &page] {
        assert_eq!(refusal(&bridge, expired).await["code"], "cursor_unknown");
        let mut sse = Sse::resume(&bridge, &member("acme"), "acme", expired).await;
        let mut ws = Ws::connect(&bridge, &member("acme")).await;
        ws.subscribe("s", "acme", json!({"after": expired})).await;
        let live = db.text("select tidings.emit('acme', 'live')").await;
        assert_eq!(sse.block().await.unwrap().event, "reset");
        assert_eq!(ws.frame().await.unwrap()["type"], "reset");
        assert_eq!((&sse.next().await["id"], &ws.next().await["id"]), (&live.as_str().into(), &live.as_str().into()));
        assert_eq!(
            get_page(&bridge, &member("acme"), "acme", &format!("?after={}", sse.last_id)).await.events,
            [json!(null); 0]
        );
    }
}

#[tokio::test]
async fn a_cursor_that_had_seen_all_that_retention_removed_is_resumed() {
    let db = Database::new().await;
    db.run("select tidings.emit('acme', 'n') from generate_series(1, 3)").await;
    let cursor = quiet_cursor(&db).await;
    forget(&db).await;
    let bridge = Bridge::start(&db).await;
    let live = db.text("select tidings.emit('acme', 'n')").await;
    let mut sse = Sse::resume(&bridge, &member("acme"), "acme", &cursor).await;
    assert_eq!((sse.hello["resumed"].clone(), sse.next().await["id"].clone()), (true.into(), live.as_str().into()));
    assert_eq!(get_page(&bridge, &member("acme"), "acme", &format!("?after={cursor}")).await.events[0]["id"], live);
}

#[tokio::test]
async fn what_is_no_cursor_is_refused_by_name_or_told_reset() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let long = "1".repeat(6000);
    for garbage in
        ["x", "1-2", "0x1-2-3", "c.1.2.3", "p.....", "%00", "%ff", "1-2-3%0a", "'; drop table x; --", long.as_str()]
    {
        let path = format!("/v1/tenants/acme/events?after={garbage}");
        let (status, problem) = bridge.get_as(&member("acme"), &path).await;
        assert_eq!((status, &problem["field"]), (422, &"after".into()), "{garbage}: {problem}");
        assert!(garbage.len() < 3 || !problem.to_string().contains(garbage), "{problem}");
        let stream = reqwest::Client::new().get(bridge.url(&path)).header("accept", "text/event-stream");
        assert_eq!(stream.bearer_auth(member("acme")).send().await.unwrap().status(), 422, "{garbage}");
        let mut ws = Ws::connect(&bridge, &member("acme")).await;
        let refused = ws.subscribe("s", "acme", json!({"after": garbage})).await;
        assert_eq!((&refused["type"], &refused["code"]), (&"error".into(), &"invalid_field".into()), "{garbage}");
        assert_eq!(ws.subscribe("s", "acme", json!({})).await["type"], "subscribed");
    }
}

#[tokio::test]
async fn a_last_event_id_that_is_no_cursor_is_told_reset_because_browsers_give_up_on_refusals() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    for garbage in [&b"x"[..], b"1-2", b"caf\xc3\xa9", b"\xff\xfe", &[b'1'; 6000]] {
        let request = reqwest::Client::new().get(bridge.url("/v1/tenants/acme/events")).bearer_auth(member("acme"));
        let request = request.header("accept", "text/event-stream").header("last-event-id", garbage);
        let mut response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{} bytes", garbage.len());
        let mut text = String::new();
        while text.matches("\n\n").count() < 2 {
            text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
        }
        assert!(text.contains("\"resumed\":false") && text.contains("event: reset\n"), "{text}");
    }
}

#[tokio::test]
async fn no_damage_to_a_cursor_is_answered_with_an_error_of_the_server() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    db.run("select tidings.emit('acme', 'n') from generate_series(1, 3)").await;
    let page = get_page(&bridge, &member("acme"), "acme", "?limit=1").await;
    let event = page.events[0]["id"].as_str().unwrap().to_owned();
    let now = db.text("select tidings.cursor()").await;
    let http = reqwest::Client::new();
    for cursor in [event, now, page.cursor] {
        let digit = |at: usize| cursor.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
        // The first digit of each number.
        for at in (0..cursor.len()).filter(|at| digit(*at) && !at.checked_sub(1).is_some_and(digit)) {
            for digits in ["", "0", "999", "9223372036854775807", "9223372036854775808", "-", "-1", ".", "ffffffff"] {
                let damaged = format!("{}{digits}{}", &cursor[..at], &cursor[at + 1..]);
                let url = bridge.url(&format!("/v1/tenants/acme/events?after={damaged}"));
                let status = http.get(url).bearer_auth(member("acme")).send().await.unwrap().status().as_u16();
                assert!(matches!(status, 200 | 410 | 422), "{damaged}: {status}");
            }
        }
    }
    assert_eq!(bridge.get("/readyz").await.0, 200);
}
