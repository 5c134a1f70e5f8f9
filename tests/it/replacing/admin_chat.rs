//! An admin page for chats over WebSocket: first on the trigger that is there, then on a watched table, without a gap.

use serde_json::{Value, json};

use crate::support::{Bridge, Database, Ws, admin, token};

/// The table and the trigger of a system with one tenant, as its plan has them.
const THEIRS: &str = "
create schema theirs;
create table theirs.chat_sessions (session_id text primary key, status text not null);
CREATE OR REPLACE FUNCTION theirs.notify_session_change()
RETURNS trigger AS $$
BEGIN
  PERFORM pg_notify('chat_session_change',
    json_build_object(
      'action', TG_OP,
      'session_id', COALESCE(NEW.session_id, OLD.session_id),
      'status', COALESCE(NEW.status, OLD.status)
    )::text
  );
  RETURN NULL;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER chat_session_notify
  AFTER INSERT OR UPDATE OR DELETE ON theirs.chat_sessions
  FOR EACH ROW EXECUTE FUNCTION theirs.notify_session_change();";

const CHANNEL: &str =
    r#"[{"name": "chat_session_change", "tenant": "=acme", "type": "session_update", "subject": "session_id"}]"#;

fn admin_of_acme(sub: &str) -> String {
    token(json!({"sub": sub, "tenant": "acme", "role": "admin"}))
}

/// Type, subject and status of each.
fn steps(events: &[Value]) -> Vec<(&str, &str, &str)> {
    events
        .iter()
        .map(|event| {
            let of = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("");
            (of("/type"), of("/subject"), of("/data/status"))
        })
        .collect()
}

#[tokio::test]
async fn all_admins_see_what_the_trigger_that_is_there_tells() {
    let db = Database::new().await;
    db.run(THEIRS).await;
    let bridge = Bridge::with(&db.url, &[("channel", CHANNEL)]).await;
    let mut one = Ws::open(&bridge, &admin_of_acme("one"), "acme", json!({})).await;
    let mut two = Ws::open(&bridge, &admin_of_acme("two"), "acme", json!({})).await;
    db.run("insert into theirs.chat_sessions values ('s1', 'waiting')").await;
    db.run("update theirs.chat_sessions set status = 'ended'").await;
    db.run("delete from theirs.chat_sessions").await;
    db.sentinel("acme").await;
    let seen = one.until_sentinel().await;
    let expected =
        [("session_update", "s1", "waiting"), ("session_update", "s1", "ended"), ("session_update", "s1", "ended")];
    assert_eq!(steps(&seen), expected);
    assert_eq!(two.until_sentinel().await, seen);
}

#[tokio::test]
async fn the_table_is_watched_beside_the_trigger_and_then_instead_of_it() {
    let db = Database::new().await;
    db.run(THEIRS).await;
    let bridge = Bridge::with(&db.url, &[("channel", CHANNEL)]).await;
    // Not the metrics of chats, which come when they come.
    let types = json!({"types": "session_update,chat_sessions.*,sentinel"});
    let mut page = Ws::open(&bridge, &admin_of_acme("one"), "acme", types).await;
    // Both at once: the page moves to the new types while the old ones still come.
    db.run("select tidings.watch('theirs.chat_sessions', tenant => '=''acme''')").await;
    db.run("insert into theirs.chat_sessions values ('s1', 'waiting')").await;
    db.run("drop trigger chat_session_notify on theirs.chat_sessions").await;
    db.run("update theirs.chat_sessions set status = 'active'").await;
    db.sentinel("acme").await;
    let seen = page.until_sentinel().await;
    let mut expected = [
        ("session_update", "s1", "waiting"),
        ("chat_sessions.inserted", "s1", "waiting"),
        ("chat_sessions.updated", "s1", "active"),
    ];
    let mut found = steps(&seen);
    // The two of one statement are notified in the order of their triggers' names.
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    // What was not there before: an id, and with it nothing that happens while a page is away is missed.
    let last = seen.iter().rfind(|event| event["type"] == "chat_sessions.updated").unwrap()["id"].clone();
    drop(page);
    db.run("update theirs.chat_sessions set status = 'ended'").await;
    db.run("truncate theirs.chat_sessions").await;
    db.sentinel("acme").await;
    let mut page =
        Ws::open(&bridge, &admin_of_acme("one"), "acme", json!({"after": last, "types": "chat_sessions.*,sentinel"}))
            .await;
    // The sentinel of before was committed after it.
    assert_eq!(page.until_sentinel().await, [Value::Null; 0]);
    assert_eq!(steps(&page.until_sentinel().await), [("chat_sessions.updated", "s1", "ended")]);
}

#[tokio::test]
async fn the_page_loads_its_list_and_follows_it_from_there() {
    let db = Database::new().await;
    db.run("insert into chat_sessions (id, tenant_id, user_id) values ('s1', 'acme', 'ann'), ('s2', 'globex', 'gus')")
        .await;
    let bridge = Bridge::start(&db).await;
    // The list as the application's own backend reads it: rows and cursor of one query.
    let list = "select json_build_object('cursor', tidings.cursor(), 'ids', json_agg(id))::text from chat_sessions where tenant_id = 'acme'";
    let list: Value = serde_json::from_str(&db.text(list).await).unwrap();
    db.run("update chat_sessions set status = 'active'").await;
    let after = json!({"after": list["cursor"], "types": "chat_sessions.*,sentinel"});
    let mut page = Ws::open(&bridge, &admin(), "acme", after).await;
    db.sentinel("acme").await;
    assert_eq!(list["ids"], json!(["s1"]));
    assert_eq!(steps(&page.until_sentinel().await), [("chat_sessions.updated", "s1", "active")]);
}

#[tokio::test]
async fn commands_come_back_as_results_and_all_admins_see_what_they_did() {
    let db = Database::new().await;
    db.run("insert into chat_sessions (id, tenant_id, user_id) values ('s1', 'acme', 'ann')").await;
    let bridge = Bridge::start(&db).await;
    let mut one = Ws::open(&bridge, &admin_of_acme("one"), "acme", json!({"types": "nothing"})).await;
    let mut two = Ws::open(&bridge, &admin_of_acme("two"), "acme", json!({"types": "chat_sessions.*,sentinel"})).await;
    for (name, status) in [("chat.assign", "active"), ("chat.end", "ended"), ("chat.archive", "archived")] {
        let args = json!({"tenant": "acme", "session": "s1"});
        one.send(&json!({"type": "command", "id": name, "name": name, "args": args})).await;
        let result = one.frame().await.unwrap();
        assert_eq!(
            (&result["type"], &result["id"], &result["ok"]),
            (&json!("result"), &json!(name), &json!(true)),
            "{result}"
        );
        assert_eq!(result["data"]["status"], status);
    }
    one.send(
        &json!({"type": "command", "id": "late", "name": "chat.end", "args": {"tenant": "acme", "session": "s1"}}),
    )
    .await;
    let late = one.frame().await.unwrap();
    assert_eq!(
        (&late["ok"], &late["error"]["code"], &late["error"]["current"]["status"]),
        (&json!(false), &json!("conflict"), &json!("archived"))
    );
    db.sentinel("acme").await;
    let seen = two.until_sentinel().await;
    assert_eq!(steps(&seen).iter().map(|step| step.2).collect::<Vec<_>>(), ["active", "ended", "archived"]);
}
