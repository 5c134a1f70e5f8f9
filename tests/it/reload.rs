//! Settings that change under a running server: SIGHUP takes up all of a new configuration or nothing, and nobody notices
//! but those whom it concerns.

use serde_json::{Value, json};
use tidings::auth::mint;

use crate::support::{Answer, Database, Folder, SECRET, Served, Sse, Ws, eventually, get_page, member};

const NEXT: &str = "the next secret of the tests, long enough for HMAC";

/// A server with a file of settings.
struct Stage {
    db: Database,
    folder: Folder,
    served: Served,
}

impl Stage {
    async fn new(settings: &str) -> Self {
        let (db, folder) = (Database::new().await, Folder::new());
        let file = format!("{}/tidings.toml", folder.path());
        std::fs::write(&file, settings).unwrap();
        let served = Served::start(&db.url, &[("TIDINGS_CONFIG", &file), ("NO_COLOR", "1")]).await;
        Self { db, folder, served }
    }

    async fn reload(&self, settings: &str) {
        std::fs::write(format!("{}/tidings.toml", self.folder.path()), settings).unwrap();
        self.served.reload().await;
    }

    /// What the metric counts.
    async fn reloads(&self, outcome: &str) -> String {
        let text = Answer::of(self.served.bridge.request("GET", "/metrics")).await.body;
        let name = format!("tidings_config_reloads_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("0").to_owned()
    }

    /// Whether a page of this origin may read answers.
    async fn allows(&self, origin: &str) -> bool {
        let answer = Answer::of(self.served.bridge.request("GET", "/livez").header("origin", origin)).await;
        !answer.header("access-control-allow-origin").is_empty()
    }
}

fn secrets(secret: &str, previous: &str) -> String {
    format!("[auth]\nsecret = \"{secret}\"\nprevious_secret = \"{previous}\"\n")
}

fn signed(secret: &str, sub: &str) -> String {
    mint(secret, json!({"sub": sub, "tenant": "acme", "exp": in_ten_minutes()})).unwrap()
}

fn in_ten_minutes() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() + 600
}

async fn status(stage: &Stage, token: &str) -> (u16, Value) {
    let (status, body) = stage.served.bridge.get_as(token, "/v1/status").await;
    (status, body["code"].clone())
}

#[tokio::test]
async fn a_key_that_is_rotated_disturbs_nobody() {
    let stage = Stage::new(&secrets(SECRET, "")).await;
    let (old, new) = (member("acme"), signed(NEXT, "ben"));
    let mut sse = Sse::open(&stage.served.bridge, &old, "acme", "").await;
    assert_eq!(status(&stage, &new).await, (401, json!("token_wrong_signature")));
    stage.reload(&secrets(NEXT, SECRET)).await;
    assert_eq!((status(&stage, &new).await.0, status(&stage, &old).await.0), (200, 200));
    stage.db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await, [Value::Null; 0]);
    assert_eq!(stage.reloads("taken_up").await, "1");
}

#[tokio::test]
async fn a_key_that_is_taken_out_ends_what_it_vouched_for() {
    let stage = Stage::new(&secrets(NEXT, SECRET)).await;
    let bridge = &stage.served.bridge;
    let (old, new) = (member("acme"), signed(NEXT, "ben"));
    let start = get_page(bridge, &old, "acme", "?after=now").await.cursor;
    let mut gone = Sse::open(bridge, &old, "acme", "").await;
    let mut gone_ws = Ws::open(bridge, &old, "acme", json!({})).await;
    let mut stays = Sse::open(bridge, &new, "acme", "").await;
    // Began with the old key, and was given a token of the new one.
    let mut renewed = Ws::open(bridge, &signed(SECRET, "ben"), "acme", json!({})).await;
    renewed.send(&json!({"type": "auth", "token": new})).await;
    assert_eq!(renewed.frame().await.unwrap()["ok"], true);
    let (_, ticket) = bridge.post_as(&old, "/v1/tickets", &Value::Null).await;
    let (_, other) = bridge.post_as(&old, "/v1/tickets", &Value::Null).await;
    let admin = mint(NEXT, json!({"sub": "root", "role": "admin", "exp": in_ten_minutes()})).unwrap();
    let path = format!("/v1/tenants/acme/events?wait=60&after={start}");
    let poll = bridge.get_as(&old, &path);
    let reload = async {
        let waits = || async {
            let (_, stats) = bridge.get_as(&admin, "/v1/stats").await;
            stats["connections"].as_array().unwrap().iter().any(|row| row["transport"] == "json")
        };
        eventually("the poll waits", waits).await;
        stage.reload(&secrets(NEXT, "")).await;
    };
    let ((polled, problem), ()) = tokio::join!(poll, reload);
    assert_eq!((polled, &problem["code"]), (401, &json!("token_revoked")));
    let bye = gone.block().await.unwrap();
    assert_eq!(
        (bye.event.as_str(), serde_json::from_str::<Value>(&bye.data).unwrap()["code"].clone()),
        ("bye", json!(4511))
    );
    assert!(gone.block().await.is_none());
    assert_eq!(gone_ws.frame().await.unwrap()["code"], 4511);
    assert_eq!(gone_ws.frame().await, None);
    assert_eq!(u16::from(gone_ws.close.unwrap().code), 4511);
    assert_eq!(status(&stage, &old).await, (401, json!("token_wrong_signature")));
    for (path, ticket) in [("/v1/tenants/acme/events", ticket), ("/v1/status", other)] {
        let path = format!("{path}?ticket={}", ticket["ticket"].as_str().unwrap());
        let refused = Answer::of(bridge.request("GET", &path).header("accept", "text/event-stream")).await;
        assert_eq!(refused.problem(), (401, "token_revoked".to_owned()), "a ticket is worth what its key is");
    }
    stage.db.sentinel("acme").await;
    assert_eq!((stays.until_sentinel().await, renewed.until_sentinel().await), (vec![], vec![]));
}

#[tokio::test]
async fn a_reload_takes_up_all_or_nothing() {
    let settings = |origin: &str, heartbeat: &str| {
        format!("{}[http]\norigins = [\"{origin}\"]\nheartbeat = \"{heartbeat}\"\n", secrets(SECRET, ""))
    };
    let (one, other) = ("https://one.example", "https://other.example");
    let stage = Stage::new(&settings(one, "20s")).await;
    let mut sse = Sse::open(&stage.served.bridge, &member("acme"), "acme", "").await;
    // A good origin beside a heartbeat that is none.
    stage.reload(&settings(other, "40s")).await;
    assert!(stage.allows(one).await && !stage.allows(other).await);
    let log = stage.served.output();
    let line = log.lines().find(|line| line.contains("is refused")).unwrap();
    assert!(line.contains("tidings.toml:6") && line.contains("http.heartbeat"), "{line}");
    // Settings that are right by themselves, and cannot be used.
    stage
        .reload(&format!(
            "{}jwks = \"{}/none.json\"\n[http]\norigins = [\"{other}\"]\n",
            secrets(SECRET, ""),
            stage.folder.path()
        ))
        .await;
    assert!(stage.allows(one).await && !stage.allows(other).await);
    assert!(stage.served.output().contains("none.json"));
    assert_eq!((stage.reloads("refused").await.as_str(), stage.reloads("taken_up").await.as_str()), ("2", "0"));
    stage.reload(&settings(other, "20s")).await;
    assert!(!stage.allows(one).await && stage.allows(other).await);
    assert_eq!(stage.reloads("taken_up").await, "1");
    stage.db.sentinel("acme").await;
    assert_eq!(sse.until_sentinel().await, [Value::Null; 0], "the stream went on through all of it");
    assert!(!stage.served.output().contains(SECRET), "no secret is logged");
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_taken_up() {
    let stage = Stage::new(&secrets(SECRET, "")).await;
    let changed = "[http]\nheartbeat = \"7s\"\norigins = [\"https://one.example\"]\n[limits]\nreplays = 3\n";
    stage.reload(&format!("{}{changed}", secrets(SECRET, ""))).await;
    assert!(stage.allows("https://one.example").await);
    stage.served.printed("needs_a_restart=\"http.heartbeat limits.replays\"", 1).await;
    let sse = Sse::open(&stage.served.bridge, &member("acme"), "acme", "").await;
    assert_eq!(sse.hello["heartbeat_s"], 15, "as at the start");
}

#[tokio::test]
async fn a_lowered_limit_holds_for_what_comes_next() {
    let limits = |user: usize| format!("{}[limits]\nconnections_per_user = {user}\n", secrets(SECRET, ""));
    let stage = Stage::new(&limits(2)).await;
    let (token, bridge) = (member("acme"), &stage.served.bridge);
    let mut open = [Sse::open(bridge, &token, "acme", "").await, Sse::open(bridge, &token, "acme", "").await];
    let ask = || async {
        let request = bridge.request("GET", "/v1/tenants/acme/events").bearer_auth(&token);
        Answer::of(request.header("accept", "text/event-stream")).await.status
    };
    stage.reload(&limits(1)).await;
    assert_eq!(ask().await, 429);
    stage.db.sentinel("acme").await;
    for sse in &mut open {
        assert_eq!(sse.until_sentinel().await, [Value::Null; 0], "what is open stays");
    }
    stage.reload(&limits(3)).await;
    assert_eq!(ask().await, 200);
}

#[tokio::test]
async fn a_raised_limit_has_sockets_to_go_with_it() {
    let limits = |all: usize| format!("{}[limits]\nconnections = {all}\n", secrets(SECRET, ""));
    let stage = Stage::new(&limits(1)).await;
    stage.reload(&limits(100)).await;
    let mut open = Vec::new();
    // More than one and what is beside it for refusals.
    for _ in 0..80 {
        open.push(Sse::open(&stage.served.bridge, &member("acme"), "acme", "").await);
    }
    stage.db.sentinel("acme").await;
    for sse in &mut open {
        assert_eq!(sse.until_sentinel().await, [Value::Null; 0]);
    }
}

#[tokio::test]
async fn secrets_and_key_sets_in_files_of_their_own_are_read_again() {
    let (db, folder) = (Database::new().await, Folder::new());
    let (secret, jwks) = (format!("{}/secret", folder.path()), format!("{}/jwks.json", folder.path()));
    let key = |x: &str| json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x}]}).to_string();
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    std::fs::write(&jwks, key("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")).unwrap();
    let settings = [("TIDINGS__AUTH__SECRET_FILE", secret.as_str()), ("auth.jwks", jwks.as_str())];
    let served = Served::start(&db.url, &settings).await;
    std::fs::write(&secret, NEXT).unwrap();
    served.reload().await;
    assert_eq!(served.bridge.get_as(&signed(NEXT, "ben"), "/v1/status").await.0, 200);
    assert_eq!(served.bridge.get_as(&member("acme"), "/v1/status").await.0, 401);
    // A key set that is broken is noticed, and the one before stays: nothing in [auth] has changed.
    std::fs::write(&jwks, "{}").unwrap();
    served.reload().await;
    served.printed("auth.jwks could not be read again", 1).await;
}

#[tokio::test]
async fn the_log_filter_can_be_changed() {
    let tracing = |filter: &str| format!("{}[tracing]\nfilter = \"{filter}\"\n", secrets(SECRET, ""));
    let stage = Stage::new(&tracing("info")).await;
    let said = || stage.served.output().matches("connected").count();
    let _stream = Sse::open(&stage.served.bridge, &member("acme"), "acme", "").await;
    let before = said();
    stage.reload(&tracing("info,tidings::http=debug")).await;
    assert_eq!(said(), before);
    let _stream = Sse::open(&stage.served.bridge, &member("acme"), "acme", "").await;
    stage.served.printed("connected", before + 1).await;
}
