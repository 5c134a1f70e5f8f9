//! Bridges in this process, configured as a process would be.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidings::app::App;
use tidings::auth::mint;
use tidings::config::Config;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Certificate, Database};

pub const SECRET: &str = "a secret of the tests, long enough for HMAC";

/// Settings of a test's bridge; `more` wins.
pub fn settings(url: &str, more: &[(&str, &str)]) -> Config {
    let base = [
        ("database.url", url),
        ("database.migrate", "false"),
        ("http.listen", "127.0.0.1:0"),
        ("auth.secret", SECRET),
        ("listener.checkpoint_every", "200ms"),
        ("listener.checkpoint_timeout", "3s"),
        ("listener.backoff_min", "20ms"),
        ("listener.backoff_max", "500ms"),
        ("shutdown.drain", "2s"),
        // Tests ask faster than people do.
        ("limits.requests_per_user", "100000"),
        ("limits.opens_per_user", "100000"),
        ("limits.publishes_per_user", "100000"),
        ("limits.failures_per_address", "100000"),
        ("limits.requests_per_address", "100000"),
        ("limits.messages_per_connection", "100000"),
        ("limits.connections_per_address", "100000"),
    ];
    let pairs: Vec<(String, String)> =
        base.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::load(None, std::iter::empty(), &pairs).unwrap()
}

pub struct Bridge {
    pub address: SocketAddr,
    scheme: &'static str,
    client: reqwest::Client,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Bridge {
    pub async fn start(database: &Database) -> Self {
        Self::with(&database.url, &[]).await
    }

    /// As the service role, where the database is named by its superuser and knows that role.
    pub async fn with(url: &str, more: &[(&str, &str)]) -> Self {
        Self::as_named(&super::database::for_bridges(url).await, more).await
    }

    /// With the role that the address names, also where that is the superuser.
    pub async fn as_named(url: &str, more: &[(&str, &str)]) -> Self {
        Self::run(url, more, "http", super::answer::client().clone()).await
    }

    /// With TLS.
    pub async fn secure(database: &Database, certificate: &Certificate, more: &[(&str, &str)]) -> Self {
        let (chain, key) = (certificate.chain(), certificate.key());
        let more: Vec<_> = [("http.tls_certificate", &*chain), ("http.tls_key", &*key)]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        let url = super::database::for_bridges(&database.url).await;
        Self::run(&url, &more, "https", certificate.client()).await
    }

    async fn run(url: &str, more: &[(&str, &str)], scheme: &'static str, client: reqwest::Client) -> Self {
        let app = App::build(&settings(url, more)).await.unwrap();
        let (address, stop) = (app.address(), CancellationToken::new());
        let stopped = stop.clone();
        let running = TaskTracker::new().spawn(async move { app.run(stopped.cancelled_owned()).await });
        let bridge = Self { address, scheme, client, stop, running };
        super::eventually("the bridge is ready", || async { bridge.get("/readyz").await.0 == 200 }).await;
        bridge
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// What its clients ask with.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Begins the drain, without waiting for its end.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Drains and waits for the end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }

    /// Status and JSON body (null when it is none) of a request without credentials.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
    }

    /// The same with a bearer token.
    pub async fn get_as(&self, token: &str, path: &str) -> (u16, Value) {
        let response = self.client.get(self.url(path)).bearer_auth(token).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
    }

    /// Any method with a JSON body.
    pub async fn send_as(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = super::Answer::of(self.request(method, path).bearer_auth(token).json(body)).await;
        (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
    }

    pub async fn post_as(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(self.url(path)).bearer_auth(token).json(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
    }
}

/// A token with these claims; `exp` in ten minutes unless given.
pub fn token(claims: Value) -> String {
    let mut claims = claims;
    let exp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap() + Duration::from_secs(600);
    if claims.get("exp").is_none() {
        claims["exp"] = json!(exp.as_secs());
    }
    mint(SECRET, claims).unwrap()
}

/// A member of one tenant.
pub fn member(tenant: &str) -> String {
    token(json!({"sub": "ann", "tenant": tenant}))
}

/// An admin of every tenant.
pub fn admin() -> String {
    token(json!({"sub": "root", "role": "admin"}))
}

impl Bridge {
    /// A bridge in another process, for clients to be pointed at.
    pub fn elsewhere(address: SocketAddr) -> Self {
        let (stop, running) = (CancellationToken::new(), TaskTracker::new().spawn(async {}));
        Self { address, scheme: "http", client: super::answer::client().clone(), stop, running }
    }
}
