//! One name in two tenants is two people; what is sent in the name of one tenant writes for no other.

use serde_json::{Value, json};
use tidings::auth::unsubscribe;

use super::rows::Who;
use super::site::{Form, Site};
use crate::support::{Answer, Bridge, Database, Delivery, SECRET, Sse, Ws, events_of};

/// Ann of acme and Ann of globex.
fn anns() -> [(&'static str, String); 2] {
    ["acme", "globex"].map(|tenant| (tenant, Who::Ann.of(&[tenant])))
}

#[tokio::test]
async fn what_one_has_read_the_other_has_not() {
    let site = Site::new().await;
    site.db
        .run("insert into notifications (id, tenant_id, type, title, message) values ('ntf_a', 'acme', 'n', 't', 'm')")
        .await;
    let [(acme, here), (globex, there)] = anns();
    let counts = async |tenant: &str, token: &str| {
        let (status, body) = site.bridge.get_as(token, &format!("/v1/tenants/{tenant}/notifications/counts")).await;
        assert_eq!(status, 200, "{body}");
        body["counts"].clone()
    };
    let (before, untouched) = (counts(acme, &here).await, counts(globex, &there).await);
    for path in ["notifications/read-all", "notifications/seen"] {
        let answer =
            site.send(Form::Bearer, &here, "POST", &format!("/v1/tenants/acme/{path}"), Some(&json!({}))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let wish = json!({"email": false});
    assert_eq!(site.bridge.send_as(&here, "PATCH", "/v1/tenants/acme/preferences", &wish).await.0, 200);
    assert_ne!(counts(acme, &here).await, before);
    assert_eq!(counts(globex, &there).await, untouched);
    assert_eq!(site.bridge.get_as(&there, "/v1/tenants/globex/preferences").await.1["email"], true);
}

#[tokio::test]
async fn what_is_for_one_is_not_for_the_other() {
    let site = Site::new().await;
    let [(acme, here), (globex, there)] = anns();
    let mut streams =
        [Sse::open(&site.bridge, &here, acme, "").await, Sse::open(&site.bridge, &there, globex, "").await];
    // As admins of their tenants they see who looks at what, and who is typing.
    site.db.run("select tidings.emit('globex', 'told', audience => 'ann')").await;
    let typing = "/v1/tenants/globex/chat/sessions/chs_b/typing";
    assert_eq!(site.send(Form::Bearer, &there, "POST", typing, None).await.status, 204);
    site.db.sentinel("acme").await;
    site.db.sentinel("globex").await;
    let kinds = |events: Vec<Value>| events_of(&events).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(kinds(streams[0].until_sentinel().await), [""; 0]);
    assert_eq!(kinds(streams[1].until_sentinel().await), ["told", "chat.typing"]);
    let (admin, _sse) = (Who::Admin.of(&["globex"]), ());
    let (_sse, connection) = site.stream(&admin, "globex").await;
    let view = "/v1/tenants/globex/chat/sessions/chs_b/view";
    assert_eq!(
        site.send(Form::Bearer, &admin, "PUT", view, Some(&json!({"connection": connection}))).await.status,
        204
    );
    crate::support::eventually("their own admins see it", || async {
        site.bridge.get_as(&admin, "/v1/tenants/globex/chat/presence").await.1["sessions"]["chs_b"].is_array()
    })
    .await;
    let seen = site.bridge.get_as(&Who::Admin.of(&["acme"]), "/v1/tenants/acme/chat/presence").await.1;
    assert_eq!(seen["sessions"], json!({}));
}

#[tokio::test]
async fn what_one_uses_up_the_other_still_has() {
    let db = Database::new().await;
    let settings = [
        ("limits.requests_per_user", "1"),
        ("limits.connections_per_user", "2"),
        ("limits.connections_per_tenant", "3"),
    ];
    let bridge = Bridge::with(&db.url, &settings).await;
    let [(acme, here), (globex, there)] = anns();
    let ask =
        async |tenant: &str, token: &str| bridge.get_as(token, &format!("/v1/tenants/{tenant}/documents")).await.0;
    let mut asked = 0;
    while ask(acme, &here).await == 200 {
        asked += 1;
        assert!(asked < 1000, "no limit");
    }
    assert_eq!(ask(globex, &there).await, 200);
    let open = async |tenant: &str, token: &str| {
        let request = bridge.request("GET", &format!("/v1/tenants/{tenant}/events")).bearer_auth(token);
        request.header("accept", "text/event-stream").send().await.unwrap()
    };
    let kept = [open(acme, &here).await, open(acme, &here).await];
    assert!(kept.iter().all(|stream| stream.status() == 200));
    assert_eq!(open(acme, &here).await.status(), 429);
    // A tenant that is full takes no other's room.
    let bob = |n: u8| crate::support::token(json!({"sub": format!("bob{n}"), "tenant": acme}));
    let third = open(acme, &bob(1)).await;
    assert_eq!((third.status().as_u16(), open(acme, &bob(2)).await.status().as_u16()), (200, 429));
    assert_eq!(open(globex, &there).await.status(), 200);
    let _socket = Ws::open(&bridge, &there, globex, json!({})).await;
}

#[tokio::test]
async fn a_source_of_one_tenant_writes_for_no_other() {
    let site = Site::new().await;
    site.db.run("insert into documents (id, tenant_id, name) values ('doc_a', 'acme', 'n')").await;
    let before = site.theirs().await;
    let mut answers = Vec::new();
    for (id, document) in [("1", "doc_b"), ("2", "doc_x"), ("3", "doc_a")] {
        let body = json!({"tenant": "globex", "tenant_id": "globex", "document_id": document, "status": "processing"});
        let answer = Delivery::new(id, &body).send(&site.bridge, "pipeline").await;
        answers.push((answer.status, answer.body));
    }
    assert_eq!(answers[0], answers[1], "one of another tenant, and one that never was");
    assert_eq!((answers[0].0, answers[2].0), (404, 200));
    assert_eq!(site.theirs().await, before);
}

#[tokio::test]
async fn a_link_to_unsubscribe_is_one_persons_of_one_tenant() {
    let site = Site::new().await;
    let link = |secret: &str, tenant: &str| format!("/v1/unsubscribe/{}", unsubscribe::sign(secret, tenant, "ann"));
    let own = link(SECRET, "acme");
    // The signature of one link behind the name in another.
    let (theirs, signature) = (link(SECRET, "globex"), own.rsplit_once('.').unwrap().1);
    let mixed = format!("{}.{signature}", theirs.rsplit_once('.').unwrap().0);
    for path in [mixed, link("another secret that nobody gave out", "globex"), "/v1/unsubscribe/x.y".to_owned()] {
        for method in ["GET", "POST"] {
            let answer = Answer::of(site.bridge.request(method, &path)).await;
            assert_eq!(answer.problem(), (404, "not_found".into()), "{method} {path}");
        }
    }
    assert_eq!(Answer::of(site.bridge.request("POST", &own)).await.status, 200);
    let wants = "select string_agg(tenant_id || ' ' || email_notifications, ', ' order by tenant_id) from users where id = 'ann'";
    assert_eq!(site.db.text(wants).await, "acme false, globex true");
}
