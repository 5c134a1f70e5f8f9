//! The public keys in force: loaded at start, kept fresh in the background, read by every verification.
//!
//! Invariant: a provider that is down or answers nonsense never takes keys away
//! (`keys_stay_in_use_while_the_provider_is_down`), and tokens with made-up key ids cannot make us ask it more often
//! than every 10 s (`unknown_key_ids_ask_the_provider_once_in_a_while`).
//!
//! Why verification does not wait for a fetch: whoever sends made-up key ids would hold connections open with it. The
//! first token of a new key is refused, and accepted when it is sent again a moment later.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    AuthError,
    key_mark::KeyMark,
    key_set::{KeySet, VerifyingKey},
    key_source::KeySource,
};
pub use super::{
    key_set::KeySetError,
    key_source::{KeySourceError, KeysError, KeysFault},
};

/// Shortest time between two fetches, also after a failed one: gentle to the provider, soon enough after a rotation.
const FETCH_GAP: Duration = Duration::from_secs(10);

/// A JWKS and the keys last read from it.
pub(super) struct Jwks {
    source: KeySource,
    /// How long keys are taken for fresh.
    refresh: Duration,
    /// [`FETCH_GAP`], shorter in tests.
    gap: Duration,
    accepted: Vec<Algorithm>,
    /// `None` until the first load; written by `load` only.
    keys: ArcSwapOption<Loaded>,
    /// Told by `find` when a key id is unknown; heard by `keep_fresh`.
    wanted: Notify,
}

struct Loaded {
    keys: KeySet,
    at: Instant,
}

impl Jwks {
    /// Reads nothing yet.
    pub(super) fn new(location: &str, refresh: Duration, accepted: Vec<Algorithm>) -> Result<Self, KeySourceError> {
        let source = KeySource::new(location)?;
        Ok(Self { source, refresh, gap: FETCH_GAP, accepted, keys: ArcSwapOption::empty(), wanted: Notify::new() })
    }

    /// The key of that id.
    pub(super) fn find(&self, kid: Option<&str>) -> Result<Arc<VerifyingKey>, AuthError> {
        let keys = self.keys.load();
        let keys = keys.as_ref().ok_or(AuthError::KeysUnavailable)?;
        keys.keys.find(kid).ok_or_else(|| {
            self.wanted.notify_one();
            AuthError::UnknownKey
        })
    }

    /// Time since its keys were last read; none before the first.
    pub(super) fn age(&self) -> Option<Duration> {
        self.keys.load().as_ref().map(|loaded| loaded.at.elapsed())
    }

    /// Whether this key is in force.
    pub(super) fn holds(&self, mark: KeyMark) -> bool {
        self.keys.load().as_ref().is_some_and(|loaded| loaded.keys.holds(mark))
    }

    /// Begins with the keys of another, if it reads them from the same place for the same algorithms. Whether it did.
    pub(super) fn inherit(&self, old: &Self) -> bool {
        let same = self.source.is(&old.source) && self.accepted == old.accepted;
        if same {
            self.keys.store(old.keys.load_full());
        }
        same
    }

    /// Reads the document and puts its keys in force; the old ones stay where that fails.
    pub(super) async fn load(&self) -> Result<(), KeysError> {
        let fault = match self.source.read().await {
            Ok(document) => match KeySet::parse(&document, &self.accepted) {
                Ok(keys) => {
                    self.keys.store(Some(Arc::new(Loaded { keys, at: Instant::now() })));
                    return Ok(());
                }
                Err(refused) => refused.into(),
            },
            Err(fault) => fault,
        };
        Err(KeysError { location: self.source.to_string(), fault })
    }

    /// Loads again and again until cancelled. Logs when the provider goes and when it comes back, not each try.
    pub(super) async fn keep_fresh(&self, cancel: CancellationToken) {
        let mut failing = false;
        let mut tried_at = Instant::now();
        loop {
            let retry = failing || self.keys.load().is_none();
            let due = tried_at + if retry { self.gap } else { self.refresh.max(self.gap) };
            // Arms: the end · the keys are old, or the last try failed · a token named a key we do not know.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(due) => {}
                () = self.asked_for(tried_at + self.gap) => {}
            }
            // Arms: the end, which does not wait for a slow provider · the answer.
            let loaded = tokio::select! {
                () = cancel.cancelled() => return,
                loaded = self.load() => loaded,
            };
            tried_at = Instant::now();
            match &loaded {
                Ok(()) if failing => tracing::info!(location = %self.source, "keys are loaded again"),
                Err(error) if !failing => {
                    let error: &(dyn std::error::Error + 'static) = error;
                    tracing::warn!(error, "keys could not be loaded, those loaded before stay in use");
                }
                _ => {}
            }
            failing = loaded.is_err();
        }
    }

    /// Waits for an unknown key id, but not before the given time: what comes earlier is heard then.
    async fn asked_for(&self, not_before: Instant) {
        tokio::time::sleep_until(not_before).await;
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        error::Error as _,
        net::SocketAddr,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinSet,
    };

    use super::*;
    use crate::auth::{
        config::ALL,
        test_keys::{ED25519, P256, RSA, jwk},
    };

    /// An HTTP server whose only answer can be changed while it runs.
    struct Provider {
        address: SocketAddr,
        answer: Arc<Mutex<(&'static str, String)>>,
        asked: Arc<AtomicUsize>,
        _task: JoinSet<()>,
    }

    impl Provider {
        async fn start(status: &'static str, body: String) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (answer, asked) = (Arc::new(Mutex::new((status, body))), Arc::new(AtomicUsize::new(0)));
            let (shown, counted) = (answer.clone(), asked.clone());
            let mut task = JoinSet::new();
            task.spawn(async move {
                loop {
                    let (mut socket, _) = listener.accept().await.unwrap();
                    let _ = socket.read(&mut [0; 4096]).await;
                    let (status, body) = shown.lock().unwrap().clone();
                    let head =
                        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                    let _ = socket.write_all((head + &body).as_bytes()).await;
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            });
            Self { address, answer, asked, _task: task }
        }

        fn answer(&self, status: &'static str, body: String) {
            *self.answer.lock().unwrap() = (status, body);
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }

        fn jwks(&self, refresh: Duration, gap: Duration) -> Arc<Jwks> {
            let location = format!("http://{}/jwks?apikey=secret", self.address);
            let jwks = Jwks::new(&location, refresh, ALL.to_vec()).unwrap();
            Arc::new(Jwks { gap, ..jwks })
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const BLINK: Duration = Duration::from_millis(5);

    fn set(kids: &[&str]) -> String {
        let keys = [&P256, &RSA, &ED25519];
        let keys: Vec<_> = kids.iter().zip(keys).map(|(kid, key)| jwk(key, kid)).collect();
        json!({ "keys": keys }).to_string()
    }

    async fn until(mut condition: impl FnMut() -> bool) {
        let waited = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), waited).await.unwrap();
    }

    /// Runs the refresh loop until the guard is dropped.
    fn keep_fresh(jwks: &Arc<Jwks>) -> JoinSet<()> {
        let (jwks, mut task) = (jwks.clone(), JoinSet::new());
        task.spawn(async move { jwks.keep_fresh(CancellationToken::new()).await });
        task
    }

    #[tokio::test]
    async fn before_the_first_load_no_token_can_be_judged() {
        let provider = Provider::start("200 OK", set(&["a"])).await;
        let jwks = provider.jwks(HOUR, HOUR);
        assert_eq!(jwks.find(Some("a")).err(), Some(AuthError::KeysUnavailable));
        jwks.load().await.unwrap();
        assert!(jwks.find(Some("a")).is_ok());
    }

    #[tokio::test]
    async fn keys_stay_in_use_while_the_provider_is_down() {
        let provider = Provider::start("200 OK", set(&["a"])).await;
        let jwks = provider.jwks(BLINK, BLINK);
        jwks.load().await.unwrap();
        let _task = keep_fresh(&jwks);
        let nonsense =
            [("503 Service Unavailable", String::new()), ("200 OK", "<html>".into()), ("200 OK", set(&["b", "b"]))];
        for (status, body) in nonsense {
            provider.answer(status, body);
            let asked = provider.asked();
            until(|| provider.asked() > asked + 1).await;
            assert!(jwks.find(Some("a")).is_ok());
        }
        provider.answer("200 OK", set(&["b"]));
        until(|| jwks.find(Some("b")).is_ok()).await;
        assert_eq!(jwks.find(Some("a")).err(), Some(AuthError::UnknownKey));
    }

    #[tokio::test]
    async fn a_first_load_that_failed_is_tried_again() {
        let provider = Provider::start("500 Internal Server Error", String::new()).await;
        let jwks = provider.jwks(HOUR, BLINK);
        assert!(jwks.load().await.is_err());
        let _task = keep_fresh(&jwks);
        provider.answer("200 OK", set(&["a"]));
        until(|| jwks.find(Some("a")).is_ok()).await;
    }

    #[tokio::test]
    async fn an_unknown_key_id_brings_the_new_keys() {
        let provider = Provider::start("200 OK", set(&["a"])).await;
        let jwks = provider.jwks(HOUR, BLINK);
        jwks.load().await.unwrap();
        let _task = keep_fresh(&jwks);
        provider.answer("200 OK", set(&["a", "b"]));
        until(|| jwks.find(Some("b")).is_ok()).await;
    }

    #[tokio::test]
    async fn unknown_key_ids_ask_the_provider_once_in_a_while() {
        let provider = Provider::start("200 OK", set(&["a"])).await;
        let gap = Duration::from_millis(300);
        let jwks = provider.jwks(HOUR, gap);
        jwks.load().await.unwrap();
        let (_task, started) = (keep_fresh(&jwks), Instant::now());
        until(|| {
            assert!(jwks.find(Some("made up")).is_err());
            provider.asked() == 3
        })
        .await;
        assert!(started.elapsed() >= 2 * gap);
    }

    #[tokio::test]
    async fn cancelling_ends_the_refresh_even_while_the_provider_is_silent() {
        // Accepted by the system's queue, answered by nobody.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = format!("http://{}/", silent.local_addr().unwrap());
        let jwks = Jwks { gap: BLINK, ..Jwks::new(&location, BLINK, ALL.to_vec()).unwrap() };
        let cancel = CancellationToken::new();
        let end = async {
            let _asked = silent.accept().await.unwrap();
            cancel.cancel();
            std::future::pending::<()>().await
        };
        let ended = async {
            tokio::select! {
                () = jwks.keep_fresh(cancel.clone()) => {}
                () = end => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(2), ended).await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_redirects_or_never_ends_is_refused() {
        let provider = Provider::start("302 Found\r\nlocation: /elsewhere", String::new()).await;
        let jwks = provider.jwks(HOUR, HOUR);
        assert!(matches!(jwks.load().await.unwrap_err().fault, KeysFault::Status(302)));
        assert_eq!(provider.asked(), 1);
        provider.answer("200 OK", " ".repeat(256 * 1024) + &set(&["a"]));
        assert!(matches!(jwks.load().await.unwrap_err().fault, KeysFault::TooLarge));
    }

    #[tokio::test]
    async fn a_failure_names_the_place_and_not_its_secrets() {
        let provider = Provider::start("401 Unauthorized", String::new()).await;
        let refused = provider.jwks(HOUR, HOUR).load().await.unwrap_err();
        assert_eq!(refused.to_string(), format!("no keys could be loaded from http://{}/jwks", provider.address));
        drop(provider);

        let unreachable = Jwks::new("http://127.0.0.1:1/?apikey=secret", HOUR, ALL.to_vec()).unwrap();
        let unreachable = unreachable.load().await.unwrap_err();
        assert!(!format!("{unreachable:?}").contains("secret"));

        let missing = Jwks::new("no/such/keys.json", HOUR, ALL.to_vec()).unwrap().load().await.unwrap_err();
        assert_eq!(missing.to_string(), "no keys could be loaded from no/such/keys.json");
        assert_eq!(missing.source().unwrap().to_string(), "the file could not be read");
    }
}
