//! A dump that is restored elsewhere is a history of its own: nothing of the original is mistaken for it.

use std::path::PathBuf;
use std::process::Output;

use serde_json::json;
use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::process::Command;

use crate::support::{Bridge, Database, Sse, Ws, get_page, member};
use crate::watch::PLAIN;

/// A program of the server's version, or of the PATH.
pub async fn program(db: &Database, name: &str) -> PathBuf {
    let major = db.text("select (current_setting('server_version_num')::int / 10000)::text").await;
    let packaged = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin/{name}"));
    match std::env::var_os("PG_BIN").map(|bin| PathBuf::from(bin).join(name)) {
        Some(chosen) => chosen,
        None if packaged.is_file() => packaged,
        None => name.into(),
    }
}

async fn succeed(command: &mut Command) -> Output {
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
    output
}

/// Copies with pg_dump and psql, or pg_restore when the format is not plain. Neither says a word.
async fn copy(from: &Database, to: &Database, format: &str, more: &[&str]) {
    let file = std::env::temp_dir().join(format!("tidings-dump-{}-{}", std::process::id(), to.name()));
    let mut dump = Command::new(program(from, "pg_dump").await);
    succeed(dump.arg("--dbname").arg(&from.url).arg("--format").arg(format).arg("--file").arg(&file).args(more)).await;
    let mut restore = Command::new(program(from, if format == "plain" { "psql" } else { "pg_restore" }).await);
    if format == "plain" {
        restore.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file"]).arg(&file);
    } else {
        restore.args(["--exit-on-error"]).arg(&file);
    }
    succeed(restore.arg("--dbname").arg(&to.url)).await;
    std::fs::remove_file(file).unwrap();
}

/// A watched database with events in its log, and what its clients hold: the id of an event, a list's cursor, and the first page's.
async fn original() -> (Database, [String; 3]) {
    let db = Database::watched(PLAIN, "tenant => 'tenant', except_columns => '{b}'").await;
    db.run("insert into t select i, 'acme', 'old', 'secret' from generate_series(1, 100) i; update t set a = 'x'")
        .await;
    let id = db.text("select tidings.emit('acme', 'n')").await;
    let cursor = db.text("select tidings.cursor()").await;
    let bridge = Bridge::start(&db).await;
    let page = get_page(&bridge, &member("acme"), "acme", "?limit=1").await.cursor;
    bridge.stop().await;
    (db, [id, cursor, page])
}

/// What makes a history its own. The bridge that connects first has seen to it.
async fn identity(db: &Database) -> [String; 2] {
    [db.text("select epoch from tidings._epoch").await, db.text("select name from tidings._channel").await]
}

async fn told(bridge: &Bridge, cursor: &str) -> String {
    let (status, problem) = bridge.get_as(&member("acme"), &format!("/v1/tenants/acme/events?after={cursor}")).await;
    assert_eq!(status, 410, "{cursor}: {problem}");
    let mut sse = Sse::resume(bridge, &member("acme"), "acme", cursor).await;
    assert_eq!((sse.hello["resumed"].as_bool(), sse.block().await.unwrap().event.as_str()), (Some(false), "reset"));
    problem["code"].as_str().unwrap().to_owned()
}

/// What is written to the copy is captured as in the original and delivered at once, and reading can be resumed there.
async fn lives(db: &Database, bridge: &Bridge) {
    let mut sse = Sse::open(bridge, &member("acme"), "acme", "").await;
    let before = db.text("select tidings.cursor()").await;
    db.run("insert into t values (1000, 'acme', 'new', 'secret'); update t set a = 'y' where id = 1000; update t set b = 'z' where id = 1").await;
    db.sentinel("acme").await;
    let live = sse.until_sentinel().await;
    let (new, changed) =
        (json!({"id": 1000, "tenant": "acme", "a": "new"}), json!({"id": 1000, "tenant": "acme", "a": "y"}));
    assert_eq!(live.iter().map(|event| event["data"].clone()).collect::<Vec<_>>(), [new, changed]);
    let mut ws = Ws::open(bridge, &member("acme"), "acme", json!({"after": before})).await;
    assert_eq!(ws.until_sentinel().await, live);
    let id = live[0]["id"].as_str().unwrap();
    assert_eq!(Sse::resume(bridge, &member("acme"), "acme", id).await.next().await, live[1]);
    assert_eq!(get_page(bridge, &member("acme"), "acme", &format!("?after={id}")).await.events[0], live[1]);
    assert_eq!(db.text("select string_agg(distinct status, ',') from tidings.watches").await, "active");
}

#[tokio::test]
async fn a_dump_restored_into_another_cluster_begins_a_history_of_its_own() {
    let (from, [id, cursor, page]) = original().await;
    let server = PrivatePostgres::start(Options::default()).await.unwrap();
    let to = Database::empty_on(&server).await;
    copy(&from, &to, "plain", &[]).await;
    // Transaction numbers begin low here; those of the dump must not stand in the way.
    let lower = "select (pg_current_xact_id() < (select max(xid::text::bigint) from tidings._log)::text::xid8)::text";
    let higher = "set xid = (xid::text::bigint + 1000000)::text::xid8";
    to.run(&format!("update tidings._log {higher}; update tidings._pruned {higher}")).await;
    assert_eq!(to.text(lower).await, "true");
    let was = identity(&from).await;
    let bridge = Bridge::start(&to).await;
    assert_eq!(
        get_page(&bridge, &member("acme"), "acme", "").await.events,
        [json!(null); 0],
        "nothing of the original"
    );
    for (held, reason) in [(id, "cursor_unknown"), (cursor, "history_changed"), (page, "history_changed")] {
        assert_eq!(told(&bridge, &held).await, reason);
    }
    lives(&to, &bridge).await;
    let is = identity(&to).await;
    assert!(is[0] != was[0] && is[1] != was[1], "{is:?}");
    assert_eq!(identity(&from).await, was, "the original keeps its own");
    bridge.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_dump_restored_beside_its_original_begins_a_history_of_its_own() {
    let (from, [id, cursor, page]) = original().await;
    let to = Database::empty().await;
    copy(&from, &to, "custom", &[]).await;
    let was = identity(&from).await;
    let (bridge, old) = (Bridge::start(&to).await, Bridge::start(&from).await);
    for held in [&cursor, &page] {
        assert_eq!(told(&bridge, held).await, "history_changed");
    }
    let is = identity(&to).await;
    assert!(is[0] != was[0] && is[1] != was[1], "{is:?}");
    let mut there = Sse::resume(&old, &member("acme"), "acme", &id).await;
    lives(&to, &bridge).await;
    from.sentinel("acme").await;
    assert_eq!(
        there.until_sentinel().await,
        [json!(null); 0],
        "what is written to the copy is not heard at the original"
    );
    assert_eq!(identity(&from).await, was);
    bridge.stop().await;
    old.stop().await;
}

#[tokio::test]
async fn a_dump_without_the_log_restores_into_either() {
    let (from, [_, cursor, _]) = original().await;
    from.run("select tidings._rotate('0') from generate_series(1, 8)").await;
    from.run("update t set a = 'z'").await;
    let server = PrivatePostgres::start(Options::default()).await.unwrap();
    for (to, format) in [(Database::empty().await, "plain"), (Database::empty_on(&server).await, "custom")] {
        copy(&from, &to, format, &["--exclude-table-data=tidings._log*"]).await;
        let bridge = Bridge::start(&to).await;
        assert_eq!(told(&bridge, &cursor).await, "history_changed");
        assert_eq!(get_page(&bridge, &member("acme"), "acme", "").await.events, [json!(null); 0]);
        lives(&to, &bridge).await;
        bridge.stop().await;
    }
    server.stop().await.unwrap();
}
