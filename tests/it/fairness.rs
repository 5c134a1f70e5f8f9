//! What one tenant does to the database leaves others theirs: turns at the log, connections of the pool, the road.

use std::sync::Mutex;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use crate::support::{Answer, Bridge, Database, Sse, admin, eventually, member};

async fn metric(bridge: &Bridge, name: &str) -> f64 {
    let text = reqwest::get(bridge.url("/metrics")).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

async fn emit(db: &Database, tenant: &str, count: usize) {
    db.run(&format!(
        "select tidings.emit('{tenant}', 'n', jsonb_build_object('n', i)) from generate_series(1, {count}) i"
    ))
    .await;
}

/// Nobody reads the log until this is committed.
async fn lock_the_log(db: &Database) -> Client {
    let client = db.connect().await;
    client.batch_execute("begin; lock table tidings._log in access exclusive mode").await.unwrap();
    client
}

/// Resumes, and reads to the number of events that are there.
async fn resume(bridge: &Bridge, tenant: &str, cursor: &str, count: usize) {
    let mut sse = Sse::resume(bridge, &member(tenant), tenant, cursor).await;
    assert_eq!(sse.hello["resumed"], true);
    sse.take(count).await;
}

#[tokio::test]
async fn a_storm_of_replays_of_one_tenant_does_not_hold_up_anothers() {
    let db = Database::new().await;
    let old = db.text("select tidings.cursor()").await;
    let settings = [
        ("ring.events_max", "16"),
        ("limits.replays", "2"),
        ("limits.connections_per_user", "1000"),
        ("listener.checkpoint_timeout", "60s"),
    ];
    let bridge = Bridge::with(&db.url, &settings).await;
    emit(&db, "acme", 1000).await;
    emit(&db, "globex", 100).await;
    let lock = lock_the_log(&db).await;
    let done = Mutex::new(Vec::new());
    let read = async |tenant: &'static str, count| {
        resume(&bridge, tenant, &old, count).await;
        done.lock().unwrap().push(tenant);
    };
    // All of acme's are there before the one of globex, and none has begun.
    let storm = join_all((0..60).map(|_| read("acme", 1000)));
    let one = async {
        eventually("acme's wait", || async { metric(&bridge, "tidings_turns_awaited").await >= 59.0 }).await;
        let begin = async {
            eventually("globex's is there", || async {
                metric(&bridge, "tidings_turns_awaited").await + metric(&bridge, "tidings_turns_taken").await >= 61.0
            })
            .await;
            lock.batch_execute("commit").await.unwrap();
        };
        tokio::join!(read("globex", 100), begin);
    };
    tokio::join!(storm, one);
    let done = done.into_inner().unwrap();
    let place = done.iter().position(|tenant| *tenant == "globex").unwrap();
    assert!(place < 15, "{place} of acme's 60 came before it");
}

#[tokio::test]
async fn requests_of_one_tenant_that_hang_leave_others_theirs() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    db.run("insert into chat_sessions (id, tenant_id, user_id) values ('s', 'acme', 'ann')").await;
    let lock = db.connect().await;
    lock.batch_execute("begin; select from chat_sessions where id = 's' for update").await.unwrap();
    let tracker = TaskTracker::new();
    let hanging: Vec<_> = (0..40)
        .map(|_| {
            let request = bridge.request("POST", "/v1/tenants/acme/chat/sessions/s/end").bearer_auth(admin());
            tracker.spawn(Answer::of(request.json(&json!({}))))
        })
        .collect();
    eventually("acme's requests hang", || async { metric(&bridge, "tidings_turns_awaited").await >= 30.0 }).await;
    for path in ["documents", "events", "notifications"] {
        let (status, body) = bridge.get_as(&member("globex"), &format!("/v1/tenants/globex/{path}")).await;
        assert_eq!(status, 200, "{path}: {body}");
    }
    assert!(metric(&bridge, "tidings_turns_awaited").await >= 30.0, "acme's still hang");
    let old = db.text("select tidings.cursor()").await;
    emit(&db, "globex", 1).await;
    resume(&bridge, "globex", &old, 1).await;
    // Those that had no turn in time are told so; those that had one are answered when the lock goes.
    eventually("acme's give up", || async { metric(&bridge, "tidings_turns_awaited").await == 0.0 }).await;
    lock.batch_execute("commit").await.unwrap();
    let mut statuses: Vec<u16> = Vec::new();
    for answer in hanging {
        let answer = answer.await.unwrap();
        if answer.status == 503 {
            assert_eq!(answer.problem(), (503, "busy".into()));
            assert!(answer.header("retry-after").parse::<u32>().is_ok());
        }
        statuses.push(answer.status);
    }
    assert!(statuses.contains(&503) && statuses.contains(&200), "{statuses:?}");
}

#[tokio::test]
async fn resumes_from_the_ring_ask_the_log_nothing_however_many_come_at_once() {
    let db = Database::new().await;
    let settings = [("listener.checkpoint_timeout", "60s"), ("limits.connections_per_user", "1000")];
    let bridge = Bridge::with(&db.url, &settings).await;
    let mut first = Sse::open(&bridge, &member("acme"), "acme", "").await;
    emit(&db, "acme", 10).await;
    let cursor = first.next().await;
    first.take(9).await;
    let lock = lock_the_log(&db).await;
    let resumes = (0..300).map(|_| resume(&bridge, "acme", cursor["id"].as_str().unwrap(), 9));
    join_all(resumes).await;
    lock.batch_execute("commit").await.unwrap();
}

#[tokio::test]
async fn a_storm_of_resumes_from_the_log_leaves_polls_answered() {
    let db = Database::new().await;
    let old = db.text("select tidings.cursor()").await;
    emit(&db, "acme", 50).await;
    // Its rings hold nothing of before its start.
    let bridge = Bridge::with(&db.url, &[("limits.connections_per_user", "1000")]).await;
    let storm = join_all((0..200).map(|_| resume(&bridge, "acme", &old, 50)));
    let polls = async {
        for _ in 0..20 {
            for tenant in ["acme", "globex"] {
                let path = format!("/v1/tenants/{tenant}/documents");
                assert_eq!(bridge.get_as(&member(tenant), &path).await.0, 200);
            }
        }
    };
    tokio::join!(storm, polls);
}

#[tokio::test]
async fn a_burst_larger_than_the_ring_of_one_tenant_does_not_hold_up_anothers_events() {
    let db = Database::new().await;
    let bridge = Bridge::with(&db.url, &[("ring.events_max", "64")]).await;
    let mut many: Vec<Sse> = Vec::new();
    for _ in 0..20 {
        many.push(Sse::open(&bridge, &member("acme"), "acme", "").await);
    }
    let mut quiet = Sse::open(&bridge, &member("globex"), "globex", "").await;
    let finished = Mutex::new(Vec::new());
    let storm = async {
        emit(&db, "acme", 5000).await;
        db.sentinel("globex").await;
        let read = many.iter_mut().map(async |sse| {
            let read: Vec<Value> = sse.take(5000).await;
            assert!(read.iter().zip(1..).all(|(event, n)| event["data"]["n"] == n), "each once, in order");
            finished.lock().unwrap().push("acme");
        });
        join_all(read).await;
    };
    let calm = async {
        assert!(quiet.until_sentinel().await.is_empty());
        finished.lock().unwrap().push("globex");
    };
    tokio::join!(storm, calm);
    // Committed behind all of theirs, and there before they have read it.
    assert_eq!(finished.into_inner().unwrap()[0], "globex");
}
