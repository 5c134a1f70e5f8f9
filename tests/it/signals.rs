//! The process as whoever started it sees it: which signal does what, who is still served meanwhile, and how it ends.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{Answer, Bridge, Database, Folder, Served, Sse, eventually, member, serve, spawn, token};

async fn refuses_new_sockets(bridge: &Bridge) {
    eventually("new sockets are refused", || async { TcpStream::connect(bridge.address).await.is_err() }).await;
}

/// What comes until the server closes.
async fn rest(mut socket: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset behind the answer is an end as well.
    let _ = timeout(Duration::from_secs(30), socket.read_to_end(&mut answer)).await.expect("it stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn in_the_grace_period_only_load_balancers_are_told() {
    let db = Database::new().await;
    let served = Served::start(&db.url, &[("shutdown.grace", "1h")]).await;
    let mut before = Sse::open(&served.bridge, &member("acme"), "acme", "").await;
    served.signal(Signal::TERM);
    eventually("it is not ready", || async { served.bridge.get("/readyz").await.0 == 503 }).await;
    let problem = Answer::of(served.bridge.request("GET", "/readyz")).await;
    assert_eq!(problem.problem().1, "draining");
    assert!(["1", "2"].contains(&problem.header("retry-after")));
    assert_eq!(served.bridge.get("/livez").await.0, 200, "nobody is to kill it");
    let mut late = Sse::open(&served.bridge, &member("acme"), "acme", "").await;
    db.sentinel("acme").await;
    assert_eq!((before.until_sentinel().await.len(), late.until_sentinel().await.len()), (0, 0));
    served.signal(Signal::TERM);
    assert_eq!(served.ended().await, Some(1), "a second signal ends the grace period as well");
}

#[tokio::test]
async fn behind_the_grace_period_it_drains_and_ends_well() {
    let db = Database::new().await;
    let served = Served::start(&db.url, &[("shutdown.grace", "1s")]).await;
    let mut sse = Sse::open(&served.bridge, &member("acme"), "acme", "").await;
    served.signal(Signal::TERM);
    assert_eq!(sse.block().await.unwrap().event, "bye");
    drop(sse);
    assert_eq!(served.ended().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_with_1() {
    let (db, folder) = (Database::new().await, Folder::new());
    let settings = [("uploads.directory", folder.path()), ("shutdown.drain", "1h")];
    let served = Served::start(&db.url, &settings).await;
    // The drain waits for it.
    let _upload = half_an_upload(&served, &folder).await;
    served.signal(Signal::INT);
    refuses_new_sockets(&served.bridge).await;
    served.signal(Signal::TERM);
    served.printed("ended by a second signal", 1).await;
    assert_eq!(served.ended().await, Some(1));
}

#[tokio::test]
async fn a_request_in_flight_is_answered() {
    let db = Database::new().await;
    let served = Served::start(&db.url, &[]).await;
    let mut blocker = db.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("lock table tidings._log in access exclusive mode").await.unwrap();
    let service = token(json!({"sub": "svc", "tenant": "acme", "role": "service"}));
    let body = json!({"type": "invoice.paid", "data": {}});
    let published = served.bridge.post_as(&service, "/v1/tenants/acme/events", &body);
    let ending = async {
        let waits = "select exists (select from pg_locks where not granted and database = (select oid from pg_database where datname = current_database()))::text";
        eventually("the request waits for the lock", || async { db.text(waits).await == "true" }).await;
        served.signal(Signal::TERM);
        refuses_new_sockets(&served.bridge).await;
        lock.rollback().await.unwrap();
    };
    let ((status, answer), ()) = tokio::join!(published, ending);
    assert_eq!(status, 201, "{answer}");
    assert_eq!(db.text("select id from tidings.events").await, answer["id"].as_str().unwrap());
    assert_eq!(served.ended().await, Some(0));
}

/// Sends half of an upload, and waits until it lies there.
async fn half_an_upload(served: &Served, folder: &Folder) -> TcpStream {
    let mut socket = TcpStream::connect(served.bridge.address).await.unwrap();
    let head = format!(
        "PUT /v1/tenants/acme/uploads/plan.pdf HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\ncontent-length: 8\r\n\r\nhalf",
        member("acme")
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    eventually("the upload has begun", || async { !folder.files().is_empty() }).await;
    socket
}

#[tokio::test]
async fn an_upload_in_progress_ends_well() {
    let (db, folder) = (Database::new().await, Folder::new());
    let served = Served::start(&db.url, &[("uploads.directory", folder.path())]).await;
    let mut upload = half_an_upload(&served, &folder).await;
    served.signal(Signal::TERM);
    refuses_new_sockets(&served.bridge).await;
    upload.write_all(b"full").await.unwrap();
    let answer = rest(upload).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(served.ended().await, Some(0));
    let files = folder.files();
    assert_eq!((files.len(), std::fs::read(&files[0]).unwrap()), (1, b"halffull".to_vec()));
}

#[tokio::test]
async fn an_upload_that_outlasts_the_drain_leaves_nothing() {
    let (db, folder) = (Database::new().await, Folder::new());
    let settings = [("uploads.directory", folder.path()), ("shutdown.drain", "1s")];
    let served = Served::start(&db.url, &settings).await;
    let upload = half_an_upload(&served, &folder).await;
    served.signal(Signal::TERM);
    served.printed("the drain's time is over", 1).await;
    assert_eq!(served.ended().await, Some(0), "a deadline is no failure");
    assert!(!rest(upload).await.starts_with("HTTP/1.1 2"));
    assert_eq!(folder.files(), [""; 0].map(std::path::PathBuf::from));
}

#[tokio::test]
async fn a_signal_while_it_starts_ends_it() {
    // A database that takes connections and says nothing.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://nobody@{}/none", deaf.local_addr().unwrap());
    let (mut child, output) = spawn(serve(&url, &[("listener.connect_timeout", "1h")]));
    let _held = timeout(Duration::from_secs(30), deaf.accept()).await.expect("it never connects").unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let ended = timeout(Duration::from_secs(30), child.wait()).await.expect("it does not end").unwrap();
    assert_eq!(ended.code(), Some(1));
    eventually("it says why", || async { output.lock().unwrap().contains("ended by a signal before it was ready") })
        .await;
}

#[tokio::test]
async fn a_probe_says_by_its_exit_code_whether_a_server_is_ready() {
    let db = Database::new().await;
    let served = Served::start(&db.url, &[("shutdown.grace", "1h")]).await;
    let address = served.bridge.address.to_string();
    let probe = |arguments: &'static [&'static str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.env_clear().env("TIDINGS__HTTP__LISTEN", &address).arg("probe").args(arguments);
        async move { command.output().await.unwrap().status.code() }
    };
    assert_eq!(probe(&[]).await, Some(0));
    served.signal(Signal::TERM);
    eventually("it is not ready", || async { probe(&[]).await == Some(1) }).await;
    assert_eq!(probe(&["--path", "/livez"]).await, Some(0));
}
