//! A deploy as it is done: two instances behind a balancer are restarted in turn while people are connected and write.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::{Bridge, Database, Served, Sse, Ws, connect, eventually, member};

/// How often the balancer looks. Ten times in the grace period.
const LOOKS_EVERY: Duration = Duration::from_millis(100);
/// Restarts of both.
const ROUNDS: usize = 5;

/// Passes sockets on to the instances that said to be ready when it last looked, in turn.
struct Balancer {
    bridge: Bridge,
    /// Each instance, and whether it was ready.
    instances: Arc<Mutex<Vec<(SocketAddr, bool)>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Balancer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bridge = Bridge::elsewhere(listener.local_addr().unwrap());
        let instances: Arc<Mutex<Vec<(SocketAddr, bool)>>> = Arc::default();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (known, sockets) = (instances.clone(), tasks.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            for turn in 0.. {
                let (mut client, _) = listener.accept().await.unwrap();
                let ready: Vec<_> = known.lock().unwrap().iter().filter(|(_, ready)| *ready).map(|(a, _)| *a).collect();
                let Some(address) = ready.get(turn % ready.len().max(1)).copied() else { continue };
                sockets.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(address).await {
                        // Either side may be gone at any time.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        }));
        let looking = instances.clone();
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let addresses: Vec<_> = looking.lock().unwrap().iter().map(|(address, _)| *address).collect();
                for address in addresses {
                    let url = format!("http://{address}/readyz");
                    let ready = reqwest::get(url).await.is_ok_and(|answer| answer.status() == 200);
                    looking.lock().unwrap().iter_mut().filter(|(a, _)| *a == address).for_each(|(_, r)| *r = ready);
                }
                tokio::time::sleep(LOOKS_EVERY).await;
            }
        }));
        Self { bridge, instances, tasks, stop }
    }

    /// One more, and the moment at which it is in use.
    async fn add(&self, served: &Served) {
        let address = served.bridge.address;
        self.instances.lock().unwrap().push((address, false));
        let used = || async { self.instances.lock().unwrap().contains(&(address, true)) };
        eventually("the balancer uses it", used).await;
    }

    fn remove(&self, address: SocketAddr) {
        self.instances.lock().unwrap().retain(|(other, _)| *other != address);
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
    }
}

/// What one client has read.
#[derive(Default)]
struct Heard {
    numbers: Mutex<Vec<u64>>,
    count: AtomicUsize,
    /// Streams that ended without a word.
    cut: AtomicUsize,
}

impl Heard {
    /// Notes an event; whether it was the last one.
    fn note(&self, event: &Value) -> bool {
        if event["type"] == "sentinel" {
            return true;
        }
        self.numbers.lock().unwrap().push(event["data"]["n"].as_u64().unwrap());
        self.count.fetch_add(1, Relaxed);
        false
    }
}

/// Of a client that was turned away. A real one takes longer.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn read_sse(bridge: &Bridge, token: &str, from: &str, heard: &Heard) {
    let mut last_id = from.to_owned();
    loop {
        let Some(mut sse) = Sse::try_resume(bridge, token, "acme", &last_id).await else {
            pause().await;
            continue;
        };
        assert_eq!(sse.hello["resumed"], true);
        loop {
            match sse.block().await {
                Some(block) if block.event == "message" => {
                    if heard.note(&serde_json::from_str(&block.data).unwrap()) {
                        return;
                    }
                }
                Some(block) => {
                    assert_eq!(block.event, "bye", "{block:?}");
                    break;
                }
                None => {
                    heard.cut.fetch_add(1, Relaxed);
                    break;
                }
            }
        }
        last_id = sse.last_id;
    }
}

async fn read_ws(bridge: &Bridge, token: &str, from: &str, heard: &Heard) {
    let mut cursor = json!(from);
    loop {
        let Some(mut ws) = Ws::try_connect(bridge, token).await else {
            pause().await;
            continue;
        };
        ws.send(&json!({"type": "subscribe", "id": "s", "tenant": "acme", "after": cursor})).await;
        loop {
            let Some(frame) = ws.frame().await else {
                heard.cut.fetch_add(1, Relaxed);
                break;
            };
            match frame["type"].as_str() {
                Some("event") => {
                    cursor = frame["event"]["id"].clone();
                    if heard.note(&frame["event"]) {
                        return;
                    }
                }
                Some("bye") => break,
                Some("subscribed") => assert_eq!(frame["resumed"], true),
                _ => panic!("{frame}"),
            }
        }
    }
}

async fn read_pages(bridge: &Bridge, token: &str, from: &str, heard: &Heard) {
    let mut cursor = from.to_owned();
    loop {
        let path = format!("/v1/tenants/acme/events?wait=20&after={cursor}");
        let request = bridge.request("GET", &path).bearer_auth(token);
        let Some(answer) = request.send().await.ok().filter(|answer| answer.status() == 200) else {
            pause().await;
            continue;
        };
        // A page that has begun arrives whole.
        let page: Value = answer.json().await.unwrap();
        if page["events"].as_array().unwrap().iter().any(|event| heard.note(event)) {
            return;
        }
        cursor = page["cursor"].as_str().unwrap().to_owned();
    }
}

/// Commits numbers in order, one by one, until stopped; returns how many.
async fn write(url: &str, tenant: &str, stop: &CancellationToken) -> u64 {
    let client = connect(url).await;
    for n in 0.. {
        if stop.is_cancelled() {
            return n;
        }
        let data = json!({"n": n}).to_string();
        client.execute("select tidings.emit($1, 'tick', $2::text::jsonb)", &[&tenant, &data]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    unreachable!()
}

#[tokio::test]
async fn a_rolling_deploy_loses_and_repeats_nothing_for_any_kind_of_client() {
    let (db, balancer) = (Database::new().await, Balancer::start().await);
    let (token, start, stop) = (member("acme"), db.text("select tidings.cursor()").await, CancellationToken::new());
    let heard: [Heard; 3] = Default::default();
    let settings = [("shutdown.grace", "1s")];
    let mut running = Vec::new();
    for _ in 0..2 {
        let served = Served::start(&db.url, &settings).await;
        balancer.add(&served).await;
        running.push(served);
    }
    let deploy = async {
        for _ in 0..ROUNDS {
            for _ in 0..2 {
                let old = running.remove(0);
                let address = old.bridge.address;
                old.signal(Signal::TERM);
                assert_eq!(old.ended().await, Some(0), "everybody left in time");
                balancer.remove(address);
                let served = Served::start(&db.url, &settings).await;
                balancer.add(&served).await;
                running.push(served);
                let before = heard.each_ref().map(|heard| heard.count.load(Relaxed));
                let went_on =
                    || async { heard.iter().zip(before).all(|(heard, before)| heard.count.load(Relaxed) > before) };
                eventually("all read on", went_on).await;
            }
        }
        stop.cancel();
    };
    let written = async {
        let (acme, _) = tokio::join!(write(&db.url, "acme", &stop), write(&db.url, "globex", &stop));
        db.sentinel("acme").await;
        acme
    };
    let ((), written, ..) = tokio::join!(
        deploy,
        written,
        read_sse(&balancer.bridge, &token, &start, &heard[0]),
        read_ws(&balancer.bridge, &token, &start, &heard[1]),
        read_pages(&balancer.bridge, &token, &start, &heard[2]),
    );
    for (kind, heard) in ["SSE", "WebSocket", "pages"].iter().zip(&heard) {
        let numbers = heard.numbers.lock().unwrap();
        let expected: Vec<u64> = (0..written).collect();
        let wrong = numbers.iter().zip(&expected).find(|(got, wanted)| got != wanted);
        assert!(*numbers == expected, "{kind}: {} of {written}, first wrong {wrong:?}", numbers.len());
        assert_eq!(heard.cut.load(Relaxed), 0, "{kind}: an instance ended without a word");
    }
    balancer.end().await;
}
