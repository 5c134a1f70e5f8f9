//! Everything that clients, writers and other servers do to a server, well and badly, with marks in it.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::served::{INBOUND, ROW, Served, Site};
use crate::support::{Answer, Delivery, Ws, eventually};

/// What shows that the traffic came where it was to come.
pub const MUST_BE_TOLD: [&str; 6] = [
    "a notification was skipped",
    "a request could not read or write the database",
    "a function of tidings_app lacks a right",
    "did not return the JSON",
    "webhook refused",
    "no listening connection",
];

/// The same, in the log of the one that leads.
pub const MUST_BE_TOLD_BY_ONE: [&str; 3] =
    ["no answer could be made", "a delivery failed and will be tried again", "FORGED RECORD"];

/// What came of it: refusals as they were answered, and credentials that were used.
pub struct Drove {
    pub refusals: String,
    pub secrets: Vec<(String, String)>,
}

pub async fn drive(site: &Site, served: &Served) -> Drove {
    let mut drove = Drove { refusals: String::new(), secrets: Vec::new() };
    credentials(site, served, &mut drove).await;
    bodies(site, served, &mut drove).await;
    frames(site, served, &mut drove).await;
    others(site, served, &mut drove).await;
    drove
}

impl Drove {
    /// Keeps what is answered to whoever may not have it.
    async fn refused(&mut self, request: reqwest::RequestBuilder) -> u16 {
        let answer = Answer::of(request).await;
        assert!(answer.status >= 400, "{answer:?}");
        self.refusals += &format!("{:?} {}\n", answer.headers, answer.body);
        answer.status
    }
}

async fn ticket(served: &Served, token: &str) -> String {
    let (_, made) = served.bridge.post_as(token, "/v1/tickets", &json!({})).await;
    made["ticket"].as_str().unwrap().to_owned()
}

async fn credentials(site: &Site, served: &Served, drove: &mut Drove) {
    let token = site.member();
    let events = "/v1/tenants/acme/events";
    for path in [format!("{events}?token={token}"), format!("{events}?ticket={}", ticket(served, &token).await)] {
        assert_eq!(served.status(&path).await, 200, "{path}");
        let query = path.split('=').nth(1).unwrap().to_owned();
        drove.secrets.push(("a credential in a query".into(), query));
    }
    let link = format!("/?ticket={}", ticket(served, &token).await);
    let signed_in = Answer::of(served.get(&link)).await;
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(signed_in.status, 303);
    assert_eq!(Answer::of(served.get("/v1/session").header("cookie", &cookie)).await.status, 200);
    drove.secrets.push(("a ticket of a link".into(), link.split('=').nth(1).unwrap().to_owned()));
    drove.secrets.push(("a cookie".into(), cookie.split('=').nth(1).unwrap().to_owned()));
    // Refused ones are secrets too: of another server, or of an hour ago.
    let expired = site.token(json!({"sub": "ann", "tenant": "acme", "exp": 1_000_000_000}));
    let foreign = format!("{}bWFyay1vZi1mb3JlaWdu", &token[..token.rfind('.').unwrap() + 1]);
    for bad in [expired, foreign, "eyJhbGciOiJub25lIn0.mark-of-claims.".into(), "mark-of-no-token-at-all".into()] {
        assert_eq!(drove.refused(served.get(events).bearer_auth(&bad)).await, 401);
        assert_eq!(drove.refused(served.get(&format!("{events}?token={bad}"))).await, 401);
        assert_eq!(drove.refused(served.get(&format!("{events}?ticket={bad}"))).await, 401);
        assert_eq!(drove.refused(served.get(events).header("cookie", format!("tidings={bad}"))).await, 401);
        drove.secrets.push(("a bad credential".into(), bad));
    }
    let basic = served.get(events).header("authorization", "Basic mark-of-basic-password");
    assert_eq!(drove.refused(basic).await, 401);
    drove.secrets.push(("a password".into(), "mark-of-basic-password".into()));
    drove.secrets.push(("a token".into(), token));
}

async fn bodies(site: &Site, served: &Served, drove: &mut Drove) {
    let admin = site.admin();
    let post = |path: &str, body: String| {
        let request = served.bridge.request("POST", &format!("/v1/tenants/acme/{path}")).bearer_auth(&admin);
        request.header("content-type", "application/json").header("idempotency-key", ROW).body(body)
    };
    let event = json!({"type": "told", "subject": ROW, "data": {"v": ROW}}).to_string();
    assert_eq!(Answer::of(post("events", event)).await.status, 201);
    for (path, body, status) in [
        ("events", format!("{{\"type\": \"x\", \"data\": {ROW}"), 400),
        ("events", format!("{{\"type\": \"{ROW} \"}}"), 422),
        ("events", json!({"type": "other", "data": ROW}).to_string(), 422),
        ("events", format!("{{\"type\": \"t\", \"data\": \"{ROW}\\u0000\"}}"), 422),
        ("events", json!({"type": 7, "data": ROW}).to_string(), 422),
        ("events", json!({"type": "t", ROW: ROW}).to_string(), 422),
        ("documents", json!({"name": ROW}).to_string(), 503),
        ("documents", json!({"name": ROW, "size": ROW}).to_string(), 422),
        ("notifications", json!({"type": ROW, "title": 7, "message": ROW}).to_string(), 422),
    ] {
        let mut one = Drove { refusals: String::new(), secrets: Vec::new() };
        assert_eq!(one.refused(post(path, body)).await, status, "{path}: {}", one.refusals);
        // A member's name that is not known is told to whoever wrote it.
        drove.refusals += &one.refusals.replace(&format!("unknown field `{ROW}`"), "");
    }
    assert_eq!(drove.refused(served.get("/v1/tenants/acme/preferences").bearer_auth(&admin)).await, 503);
    assert_eq!(drove.refused(served.get("/v1/tenants/acme/notifications/counts").bearer_auth(&admin)).await, 501);
    let patch = served.bridge.request("PATCH", "/v1/tenants/acme/preferences").bearer_auth(&admin);
    assert_eq!(drove.refused(patch.json(&json!({"email": false}))).await, 501);
    let upload = served.bridge.request("PUT", "/v1/tenants/acme/uploads/mark-of-row-content.txt").bearer_auth(&admin);
    assert_eq!(Answer::of(upload.body(ROW)).await.status, 201);
    assert_eq!(
        drove.refused(served.get(&format!("/v1/tenants/acme/watched/{ROW}/{ROW}")).bearer_auth(&admin)).await,
        404
    );
}

async fn frames(site: &Site, served: &Served, drove: &mut Drove) {
    let mut ws = Ws::open(&served.bridge, &site.member(), "acme", json!({"types": "none"})).await;
    for text in [
        json!({"type": "auth", "token": "mark-of-no-token-at-all"}).to_string(),
        json!({"type": "auth", "token": site.member()}).to_string(),
        json!({"type": "subscribe", "id": "t", "tenant": "acme", "after": ROW}).to_string(),
        json!({"type": "subscribe", "id": "t", "tenant": "acme", "types": format!("{ROW} ")}).to_string(),
        json!({"type": "command", "id": "c", "name": "chat.send", "args": {"tenant": "acme", "session": ROW, "content": ROW}}).to_string(),
        format!("{{\"type\": \"ping\", \"x\": {ROW}"),
    ] {
        ws.socket.send_text(&text).await;
        drove.refusals += &ws.frame().await.unwrap().to_string();
    }
}

/// Sends text as it is.
trait SendText {
    async fn send_text(&mut self, text: &str);
}

impl<S: futures_util::Sink<Message, Error: std::fmt::Debug> + Unpin> SendText for S {
    async fn send_text(&mut self, text: &str) {
        futures_util::SinkExt::send(self, Message::text(text)).await.unwrap();
    }
}

/// Writers, pipelines, models and whoever may NOTIFY.
async fn others(site: &Site, served: &Served, drove: &mut Drove) {
    let signed = |id: &str, body: &Value| {
        let mut delivery = Delivery::new(id, body);
        delivery.secret = INBOUND.to_owned();
        delivery
    };
    let good = signed("msg_1", &json!({"tenant": "acme", "number": 1}));
    assert_eq!(good.send(&served.bridge, "pipeline").await.status, 200);
    let bad = signed("msg_2", &json!({"tenant": "acme", "number": ROW}));
    assert_eq!(drove.refused(bad.request(&served.bridge, "pipeline")).await, 422);
    let mut forged = signed("msg_3", &json!({"tenant": ROW}));
    forged.secret = "mark-of-another-secret".into();
    assert_eq!(drove.refused(forged.request(&served.bridge, "pipeline")).await, 401);
    drove.secrets.push(("a signature".into(), good.signature()));
    drove.secrets.push(("another secret".into(), forged.secret));
    for sql in [
        "select pg_notify((select name from tidings._channel), 'mark-of-row-content')",
        "select pg_notify((select name from tidings._channel), '{\"eid\": \"mark-of-row-content\"}')",
        "select pg_notify((select name from tidings._channel), '{\"tenant\": \"acme\", \"data\": {\"v\": \"mark-of-row-content\"}}')",
        "select pg_notify('plain', 'mark-of-row-content')",
        "select pg_notify('plain', '{\"tenant\": [\"mark-of-row-content\"]}')",
        "insert into chat_sessions (id, tenant_id, user_id, subject) values ('s' || random(), 'acme', 'ann', 'mark-of-row-content')",
        "insert into chat_messages (tenant_id, session_id, role, content)
           select 'acme', id, 'user', 'mark-of-row-content' from chat_sessions order by created_at desc limit 1",
        "select tidings.emit('acme', 'told', '{\"v\": \"mark-of-row-content\"}', 'mark-of-row-content')",
    ] {
        site.run(sql).await;
    }
    eventually("what was sent is counted as skipped", || async { served.log().contains("a notification was skipped") })
        .await;
}
