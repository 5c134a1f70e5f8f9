//! A network that falls silent: sockets stay open, and what is said on them arrives nowhere, in one direction or both.

use super::scene::{LISTENER, POOL, ROAD, Scene};
use crate::support::{Fault, Of, Way, get_page, member};

/// What is silent, which way, how, and why the bridge is not ready then; nothing: it does not mind.
type Row = (Of, Way, Fault, &'static [&'static str]);

const LOST: &[&str] = &["disconnected", "catching_up", "no_checkpoint"];

async fn survives(rows: &[Row]) {
    let scene = Scene::start().await;
    for (of, way, fault, reasons) in rows {
        scene.proxy.set(*of, *way, *fault);
        if reasons.is_empty() {
            scene.flows().await;
            scene.is_ready().await;
        } else {
            scene.is_not_ready(reasons).await;
        }
        scene.commits().await;
        // What was held arrives now; what was swallowed never does, on these connections.
        match fault.pass {
            crate::support::Pass::Swallow => scene.mend(),
            _ => scene.proxy.mend(),
        }
        scene.recovers().await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn a_half_open_listening_connection_loses_nothing() {
    survives(&[
        (LISTENER, Way::ToClient, Fault::hold(), LOST),
        (LISTENER, Way::Both, Fault::swallow(), LOST),
        // It says nothing once it listens, so nothing is missing.
        (LISTENER, Way::ToServer, Fault::swallow(), &[]),
    ])
    .await;
}

#[tokio::test]
async fn half_open_connections_of_the_road_lose_nothing() {
    survives(&[
        (ROAD, Way::Both, Fault::hold(), LOST),
        // Checkpoints are sent, and come back on the listening connection.
        (ROAD, Way::ToClient, Fault::swallow(), &[]),
        (ROAD, Way::ToServer, Fault::swallow(), LOST),
    ])
    .await;
}

#[tokio::test]
async fn a_network_that_falls_silent_altogether_loses_nothing() {
    survives(&[
        (Of::All, Way::Both, Fault::hold(), LOST),
        (Of::All, Way::ToClient, Fault::swallow(), LOST),
        (Of::All, Way::ToServer, Fault::swallow(), LOST),
    ])
    .await;
}

#[tokio::test]
async fn a_silent_network_is_told_once_and_counted() {
    let scene = Scene::start().await;
    let before = scene.metric("tidings_listener_reconnects_total").await;
    scene.proxy.set(Of::All, Way::Both, Fault::swallow());
    let said = scene.is_not_ready(&["disconnected"]).await;
    assert_eq!(said["listener"]["connected"], false);
    assert!(said["detail"].as_str().unwrap().contains("it does not answer"), "{said}");
    assert_eq!(scene.metric("tidings_ready").await, 0.0);
    scene.mend();
    scene.recovers().await;
    scene.logged.told("no listening connection", 6).await;
    scene.logged.told("listening and caught up again", 2).await;
    assert!(scene.metric("tidings_listener_reconnects_total").await > before);
    scene.finish().await;
}

#[tokio::test]
async fn half_open_connections_of_the_pool_hold_up_no_event() {
    let scene = Scene::start().await;
    // A connection of the pool that is idle, and falls silent.
    get_page(&scene.bridge, &member("acme"), "acme", "?limit=1").await;
    scene.proxy.set(POOL, Way::Both, Fault::swallow());
    let before = scene.metric("tidings_events_total").await;
    scene.commits().await;
    crate::support::eventually("events go on", || async {
        scene.metric("tidings_events_total").await > before + 100.0
    })
    .await;
    scene.is_ready().await;
    scene.mend();
    scene.flows().await;
    scene.finish().await;
}
