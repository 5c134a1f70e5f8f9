//! What is secret, and what is in rows, stays out of logs, figures, refusals and lists of processes, at the noisiest that a server can
//! be told to be; and what others send cannot make the log say what it did not.
//!
//! Each secret and each row holds a mark that stands nowhere else. Two servers get the same traffic and the same faults, one logging
//! text and one JSON, both at "trace", and then all that they ever wrote is searched for the marks.

mod served;
mod traffic;

use serde_json::{Value, json};

use crate::cli::tidings;
use crate::support::eventually;
use served::{Served, Site};

#[tokio::test]
async fn nothing_secret_leaves_a_server_by_its_log_its_figures_or_its_refusals() {
    let site = Site::new().await;
    let (text, json) = (site.serve(false).await, site.serve(true).await);
    let mut seen = String::new();
    let mut tickets = Vec::new();
    for served in [&text, &json] {
        let drove = traffic::drive(&site, served).await;
        seen += &drove.refusals;
        tickets.extend(drove.secrets);
    }
    site.run(served::RENAME).await;
    for told in traffic::MUST_BE_TOLD_BY_ONE {
        let logs = || text.log() + &json.log();
        eventually(&format!("one tells of: {told}"), || async { logs().contains(told) }).await;
    }
    faults(&site, [&text, &json]).await;
    for served in [&text, &json] {
        seen += &served.public_figures(&site).await;
        assert_eq!(served.command_line(), ["serve"], "nothing else is on the command line");
        assert_eq!(served.children(), "", "no other process has its environment");
    }
    let (text, json) = (text.end().await, json.end().await);
    for told in traffic::MUST_BE_TOLD {
        assert!(text.contains(told) && json.contains(told), "nothing was logged of: {told}\n{text}");
    }
    one_record_a_line(&text, &json);
    seen += &(text + &json);
    for (what, mark) in site.marks().into_iter().chain(tickets) {
        assert!(mark.len() >= 12, "{what} is too short to be looked for");
        let around = |at: usize| seen[..at + mark.len()].chars().rev().take(400).collect::<Vec<_>>();
        let found = seen.find(&mark).map(|at| around(at).into_iter().rev().collect::<String>());
        assert_eq!(found, None, "{what} got out");
    }
}

/// A backend that is ended, a password that is wrong for a while.
async fn faults(site: &Site, both: [&Served; 2]) {
    site.run("alter role leaky password 'another'").await;
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'leaky' and pid <> pg_backend_pid()";
    site.run(ended).await;
    for served in both {
        eventually("it is not ready", || async { served.status("/readyz").await == 503 }).await;
        // What needs the database is refused meanwhile.
        assert_eq!(served.status_as(&site.member(), "/v1/tenants/acme/documents").await, 503);
    }
    site.run(&format!("alter role leaky password '{}'", served::DB_PASSWORD)).await;
    for served in both {
        eventually("it is ready again", || async { served.status("/readyz").await == 200 }).await;
    }
}

/// A line of text begins with the time; one of JSON is JSON.
fn one_record_a_line(text: &str, json: &str) {
    for line in text.lines() {
        assert!(line.starts_with("20") && line.as_bytes()[4] == b'-' || line.starts_with("tidings: "), "{line:?}");
        assert!(!line.contains('\u{1b}') && !line.contains("FORGED RECORD") || line.contains("\\n"), "{line:?}");
    }
    for line in json.lines().filter(|line| !line.starts_with("tidings: ")) {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(record["level"].is_string() && record["target"].is_string(), "{record}");
    }
}

#[tokio::test]
async fn what_the_command_line_shows_of_the_configuration_holds_no_secret() {
    let site = Site::new().await;
    for arguments in [
        vec!["config", "show"],
        vec!["config", "show", "--json"],
        vec!["config", "check"],
        vec!["doctor", "--json"],
        vec!["triggers", "list", "--json"],
        vec!["--config", "/nowhere", "serve"],
        vec!["--set", "http.listen=nonsense", "serve"],
        vec!["--set", "auth.algorithms=x", "serve"],
    ] {
        let out = site.environment(tidings(&arguments), false).output().await.unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        for (what, mark) in site.marks() {
            assert!(!said.contains(&mark), "{what} in `{}`: {said}", arguments.join(" "));
        }
    }
}

#[tokio::test]
async fn a_secret_on_the_command_line_is_warned_of_and_not_repeated() {
    for (setting, mark) in [
        ("auth.secret=a-secret-that-everybody-sees-in-ps", "everybody-sees"),
        ("database.url=postgres://u:everybody-sees@h/d", "everybody-sees"),
        ("http.listen=127.0.0.1:0", ""),
    ] {
        let out = tidings(&["--set", setting, "config", "check"]).output().await.unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success(), "{said}");
        assert_eq!(said.contains("a secret stands on the command line"), !mark.is_empty(), "{said}");
        assert!(mark.is_empty() || !said.contains(mark), "{said}");
    }
}

#[tokio::test]
async fn an_id_of_a_request_is_repeated_only_where_it_is_harmless() {
    let site = Site::new().await;
    let served = site.serve(true).await;
    for (id, repeated) in
        [("abc-1.2_3", true), ("a b", false), ("a\"}", false), ("<script>", false), (&"x".repeat(65), false)]
    {
        let answer = served.get("/v1/status").header("x-request-id", id).send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"] == id, repeated, "{id}");
    }
    // What a path, a query or a header holds is not part of any answer's head, and JSON stays JSON.
    for path in [
        "/v1/tenants/a%0d%0aset-cookie:%20x=y/events",
        "/v1/tenants/%22%7d%0a/events?types=%0d%0a",
        "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/v1/tenants/acme/events?client=%0d%0ax:y",
        "/v1/tenants/acme/events?after=%3Cb%3E%0d%0a",
        "/v1/tenants/acme/events?%0d%0ax=1&%0d%0ax=2",
        "/?ticket=%0d%0aset-cookie:x=y&next=%0d%0aset-cookie:x=y",
    ] {
        let answer = served.get(path).bearer_auth(site.member()).header("accept", "application/json, text/html").send();
        let answer = answer.await.unwrap();
        let heads = answer.headers();
        assert!(!heads.contains_key("set-cookie") && !heads.contains_key("x"), "{path}: {heads:?}");
        let kind = answer.headers().get("content-type").map_or(String::new(), |kind| kind.to_str().unwrap().to_owned());
        let body = answer.text().await.unwrap();
        if kind.contains("json") {
            assert!(
                serde_json::from_str::<Value>(&body).is_ok_and(|body| body["code"] != json!(null)),
                "{path}: {body}"
            );
        }
        assert!(!body.contains("<script>alert"), "{path}: {body}");
    }
}
