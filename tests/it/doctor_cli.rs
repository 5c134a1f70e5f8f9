//! `tidings doctor` as a person and a script meet it: exit codes, JSON, and what only a client can see.

use std::process::Output;

use serde_json::Value;
use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_util::task::TaskTracker;

use crate::support::Database;

async fn doctor(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.arg("doctor").args(arguments).env_clear().env("DATABASE_URL", url).kill_on_drop(true);
    command.output().await.unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The JSON printed, with the exit code.
async fn asked(url: &str, arguments: &[&str]) -> (Value, i32) {
    let output = doctor(url, &[arguments, &["--json"]].concat()).await;
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (json, output.status.code().unwrap())
}

fn find<'a>(json: &'a Value, code: &str) -> Option<&'a Value> {
    json["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == code)
}

#[tokio::test]
async fn a_healthy_database_exits_with_0_and_the_round_trip_is_measured() {
    let db = Database::new().await;
    let bridge = db.listening_bridge().await;
    let (json, exit) = asked(&db.url, &[]).await;
    assert_eq!((&json["errors"], &json["warnings"], exit), (&0.into(), &0.into(), 0), "{json:#}");
    assert!(find(&json, "round_trip").is_some() && find(&json, "clock_skew").is_none());
    let printed = text(&doctor(&db.url, &[]).await);
    assert!(printed.contains("Good to know\n") && printed.contains("\n0 errors, 0 warnings, "), "{printed}");
    bridge.stop().await;
}

#[tokio::test]
async fn an_error_exits_with_1_and_stands_first_with_its_fix_below() {
    let db = Database::new().await;
    db.run("alter table documents disable trigger tidings_insert").await;
    let (json, exit) = asked(&db.url, &[]).await;
    assert_eq!((&json["findings"][0]["code"], &json["errors"], exit), (&"triggers_missing".into(), &1.into(), 1));
    let output = doctor(&db.url, &[]).await;
    let printed = text(&output);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!((lines[0], output.status.code()), ("Errors", Some(1)), "{printed}");
    assert!(lines[1].contains("tidings_insert on public.documents (disabled)"), "{printed}");
    assert!(lines[2].starts_with("      select tidings.watch('public.documents', "), "{printed}");
    assert!(lines.last().unwrap().starts_with("1 error, 1 warning, "), "{printed}");
}

#[tokio::test]
async fn why_prints_the_road_and_exits_by_whether_the_event_stopped() {
    let db = Database::new().await;
    let (json, exit) = asked(&db.url, &["--why", "documents", "nothing"]).await;
    assert_eq!((&json["verdict"], &json["ok"], exit), (&"not_in_table".into(), &false.into(), 1), "{json:#}");
    db.run(
        "insert into tidings._listener (bridge, pid, version, checkpoint_at) values ('b', 1, '1', clock_timestamp())",
    )
    .await;
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'x')").await;
    let output = doctor(&db.url, &["--why", "public.documents", "d"]).await;
    let printed = text(&output);
    assert!(output.status.success() && printed.trim_end().ends_with("public.documents d: delivered"), "{printed}");
    let output = doctor(&db.url, &["--why", "nowhere", "d"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.starts_with("tidings: there is no table nowhere (hint: name it as in SQL"), "{error}");
    assert_eq!(doctor(&db.url, &["--why", "documents"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn a_role_that_may_only_ask_is_answered_and_any_other_is_told_what_to_grant() {
    let db = Database::new().await;
    let role = format!("asks_{}", db.text("select current_database()::text").await);
    db.run(&format!("create role {role} login")).await;
    let url = format!("{}{}options=-c%20role%3D{role}", db.url, if db.url.contains('?') { '&' } else { '?' });
    let refused = doctor(&url, &[]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("grant usage on schema tidings"), "{refused:?}");
    db.run(&format!(
        "grant usage on schema tidings to {role}; grant execute on function tidings.doctor(), tidings.why(regclass, text) to {role}"
    ))
    .await;
    let (json, exit) = asked(&url, &[]).await;
    assert_eq!((exit, find(&json, "rights")), (0, None), "{json:#}");
    assert_eq!(asked(&url, &["--why", "documents", "d"]).await.0["verdict"], "not_in_table");
    db.run(&format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_schema_that_is_missing_older_or_newer_is_told() {
    let db = Database::new().await;
    db.run("insert into tidings.schema_history values (999, 'later', '2030-01-01T00:00:00Z', '1')").await;
    assert_eq!(find(&asked(&db.url, &[]).await.0, "schema_newer").unwrap()["severity"], "warning");
    db.run("delete from tidings.schema_history where version > 5").await;
    assert_eq!(find(&asked(&db.url, &[]).await.0, "schema_older").unwrap()["fix"], "-- tidings migrate");
    db.run("drop function tidings.doctor()").await;
    let (json, exit) = asked(&db.url, &[]).await;
    assert!(exit == 1 && find(&json, "schema_older").is_some(), "{json:#}");
    db.run("drop schema tidings cascade").await;
    let (json, exit) = asked(&db.url, &[]).await;
    assert!(exit == 1 && find(&json, "schema_missing").is_some() && find(&json, "round_trip").is_some(), "{json:#}");
}

#[tokio::test]
async fn a_retention_that_differs_from_what_bridges_apply_is_a_warning_where_it_was_meant() {
    let db = Database::new().await;
    db.run("update tidings._pruned set for_time = '6 h', for_bytes = 16::bigint << 30").await;
    assert_eq!(find(&asked(&db.url, &[]).await.0, "log_settings_differ").unwrap()["severity"], "info");
    let (json, _) = asked(&db.url, &["--set", "log.retention=24h"]).await;
    assert_eq!(find(&json, "log_settings_differ").unwrap()["severity"], "warning");
    assert_eq!(find(&asked(&db.url, &["--set", "log.retention=6h"]).await.0, "log_settings_differ"), None);
}

/// A proxy that turns what is asked with LISTEN into a comment, as if the next statement went to another session.
async fn forgetful(target: String) -> u16 {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = proxy.local_addr().unwrap().port();
    let tracker = TaskTracker::new();
    tracker.clone().spawn(async move {
        while let Ok((client, _)) = proxy.accept().await {
            let (mut from, mut to) = client.into_split();
            let (mut back, mut forth) = TcpStream::connect(&target).await.unwrap().into_split();
            tracker.spawn(async move { copy(&mut back, &mut to).await });
            tracker.spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from.read(&mut bytes).await {
                    if let Some(at) = bytes[..length].windows(7).position(|window| window == b"listen ") {
                        bytes[at..at + 2].copy_from_slice(b"--");
                    }
                    forth.write_all(&bytes[..length]).await.unwrap();
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_pooler_that_forgets_listen_is_an_error() {
    let server = PrivatePostgres::start(Options { tcp: true, ..Options::default() }).await.unwrap();
    let url = server.tcp_url("postgres").unwrap();
    let port = url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0].to_string();
    let proxy = forgetful(format!("127.0.0.1:{port}")).await.to_string();
    let (json, exit) = asked(&url.replace(&format!(":{port}/"), &format!(":{proxy}/")), &[]).await;
    assert_eq!((exit, &find(&json, "pooler").unwrap()["severity"]), (1, &"error".into()), "{json:#}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn consumers_that_fail_or_that_nobody_configured_are_named_with_what_to_do() {
    let db = Database::new().await;
    db.run(
        "select tidings._lead('webhook.old', 'a', 60), tidings._lead('email', 'a', -1);
         select tidings._owe('webhook.old', '1-1-1', '', 'acme', 'a', '{}'), tidings._owe('webhook.old', '2-1-1', '', 'acme', 'a', '{}');
         update tidings._delivery set since = now() - interval '2 hours' where event = '1-1-1';
         select tidings._settle(id, 0, 'gone', null) from tidings._delivery where event = '2-1-1'",
    )
    .await;
    let (json, exit) = asked(&db.url, &[]).await;
    let of = |code: &str, subject: &str| {
        let all = json["findings"].as_array().unwrap();
        all.iter().find(|finding| finding["code"] == code && finding["subject"] == subject).cloned().unwrap_or_default()
    };
    assert_eq!((exit, &of("consumer_unknown", "webhook.old")["severity"]), (0, &"info".into()), "{json:#}");
    assert_eq!(of("consumer_unknown", "email")["severity"], "info", "not in this configuration either");
    let late = of("deliveries_late", "webhook.old");
    assert!(late["message"].as_str().unwrap().contains("owes 1, the oldest for 2 h"), "{late}");
    assert_eq!(of("dead_letters", "webhook.old")["message"], "the consumer webhook.old has given up 1");
    for fix in [&late["fix"], &of("dead_letters", "webhook.old")["fix"]] {
        db.run(fix.as_str().unwrap()).await;
    }
    db.run("select tidings._yield('a')").await;
    db.run(of("consumer_unknown", "webhook.old")["fix"].as_str().unwrap()).await;
    let (json, _) = asked(&db.url, &[]).await;
    assert!(find(&json, "deliveries_late").is_none() && find(&json, "dead_letters").is_none(), "{json:#}");
}
