//! A database that changes under a live bridge: it takes no writes, or schema tidings is not what it was.

use tidings::migrate::{Wishes, migrate};

use super::scene::{Logged, QUICK, Scene};
use crate::support::{Bridge, Database, Sse, eventually, member};

const EVERYBODY_OF_THE_BRIDGE: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
    where datname = current_database() and application_name like 'tidings%' and pid <> pg_backend_pid()";

#[tokio::test]
async fn a_read_only_database_goes_on_being_read() {
    let scene = Scene::start().await;
    let name = scene.db.name().to_owned();
    scene.db.run(&format!("alter database {name} set default_transaction_read_only = on")).await;
    scene.db.client.query_one(EVERYBODY_OF_THE_BRIDGE, &[]).await.unwrap();
    let said = scene.is_not_ready(&["no_checkpoint"]).await;
    assert!(said["detail"].as_str().unwrap().contains("it takes no writes"), "{said}");
    // Whoever may write writes, and everybody sees it; the listening connection stays.
    let before = scene.metric("tidings_listener_reconnects_total").await;
    scene.flows().await;
    scene.is_not_ready(&["no_checkpoint"]).await;
    scene.flows().await;
    assert_eq!(scene.metric("tidings_listener_reconnects_total").await, before);
    scene.logged.told("a checkpoint could not be sent", 8).await;
    let again = "set default_transaction_read_only = off";
    scene.db.run(&format!("{again}; alter database {name} {again}")).await;
    scene.db.client.query_one(EVERYBODY_OF_THE_BRIDGE, &[]).await.unwrap();
    scene.recovers().await;
    scene.finish().await;
}

#[tokio::test]
async fn another_channel_is_found_and_nothing_lost() {
    let scene = Scene::start().await;
    scene.db.run("update tidings._channel set name = 'tidings_' || replace(gen_random_uuid()::text, '-', '')").await;
    scene.commits().await;
    scene.logged_reconnect().await;
    scene.recovers().await;
    scene.finish().await;
}

impl Scene {
    async fn logged_reconnect(&self) {
        eventually("it listens anew", || async { !self.logged.with("no checkpoint came back").is_empty() }).await;
    }
}

#[tokio::test]
async fn a_schema_that_is_taken_away_and_installed_again_is_told_and_goes_on() {
    let logged = Logged::start();
    let db = Database::new().await;
    // As the owner: a service role would have to be granted everything anew.
    let bridge = Bridge::as_named(&db.url, &QUICK).await;
    let mut sse = Sse::open(&bridge, &member("acme"), "acme", "").await;
    db.run("select tidings.uninstall()").await;
    eventually("it says what is missing", || async {
        let (status, body) = bridge.get("/readyz").await;
        status == 503 && body["detail"].as_str().is_some_and(|detail| detail.contains("schema tidings is not there"))
    })
    .await;
    // Attempts go on, and are not all told.
    eventually("it is told", || async { !logged.with("tidings").is_empty() }).await;
    migrate(&db.url.parse().unwrap(), &Wishes::default()).await.unwrap();
    let file = format!("{}/triggers/documents.sql", env!("CARGO_MANIFEST_DIR"));
    db.run(&std::fs::read_to_string(file).unwrap()).await;
    // What is committed before that is in the state that is fetched then.
    let told = sse.block().await.unwrap();
    assert_eq!(told.event, "reset", "{told:?}");
    eventually("it is ready", || async { bridge.get("/readyz").await.0 == 200 }).await;
    db.run("insert into documents (id, tenant_id, name) values ('again', 'acme', 'x')").await;
    assert_eq!(sse.next().await["subject"], "again");
    assert!(logged.with("WARN").len() < 20, "{:#?}", logged.with("WARN"));
}
