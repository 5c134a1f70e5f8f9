//! PostgreSQL, or one of its processes, that is stopped, killed or told to go.

use rustix::process::{Pid, Signal, kill_process};
use tidings::private_postgres::{Options, PrivatePostgres};

use super::listener_pid;
use super::scene::Scene;
use crate::support::eventually;

fn signal(pid: i32, what: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), what).unwrap();
}

#[tokio::test]
async fn a_postgresql_that_is_stopped_and_goes_on_loses_nothing() {
    let server = PrivatePostgres::start(Options::default()).await.unwrap();
    let scene = Scene::on(&server).await;
    for _ in 0..2 {
        server.suspend().unwrap();
        scene.is_not_ready(&["disconnected", "no_checkpoint"]).await;
        server.resume().unwrap();
        scene.recovers().await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_listening_backend_that_is_stopped_is_replaced() {
    let server = PrivatePostgres::start(Options::default()).await.unwrap();
    let scene = Scene::on(&server).await;
    let pid = listener_pid(&scene.db).await.unwrap();
    signal(pid, Signal::STOP);
    // Readiness may never be seen to be lost: the next one listens as soon as the first is given up.
    eventually("another backend listens", || async {
        let sql = "select count(*) from pg_stat_activity where application_name = 'tidings listener'";
        scene.db.client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 2
    })
    .await;
    scene.recovers().await;
    scene.logged.told("no checkpoint came back", 2).await;
    signal(pid, Signal::CONT);
    scene.flows().await;
    scene.finish().await;
}

#[tokio::test]
async fn a_killed_backend_and_the_crash_recovery_after_it_lose_nothing() {
    let server = PrivatePostgres::start(Options::default()).await.unwrap();
    let mut scene = Scene::on(&server).await;
    for _ in 0..2 {
        let pid = listener_pid(&scene.db).await.unwrap();
        // All other backends are ended with it, and the server recovers.
        signal(pid, Signal::KILL);
        eventually("the server is back, and it listens", || async {
            let Ok((client, connection)) =
                scene.db.url.parse::<tokio_postgres::Config>().unwrap().connect(tokio_postgres::NoTls).await
            else {
                return false;
            };
            let sql = "select pid from pg_stat_activity where application_name = 'tidings listener'";
            tokio::select! {
                found = client.query_opt(sql, &[]) => found.is_ok_and(|row| row.is_some_and(|row| row.get::<_, i32>(0) != pid)),
                _ = connection => false,
            }
        })
        .await;
        scene.db.client = scene.db.connect().await;
        scene.recovers().await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_burst_of_terminated_backends_loses_nothing() {
    let scene = Scene::start().await;
    let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and application_name like 'tidings%' and pid <> pg_backend_pid()";
    for round in 0..30 {
        scene.db.client.query_one(sql, &[]).await.unwrap();
        if round % 5 == 0 {
            scene.commits().await;
        }
    }
    scene.recovers().await;
    scene.logged.told("no listening connection", 25).await;
    scene.finish().await;
}
