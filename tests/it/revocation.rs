//! What is revoked opens nothing and keeps nothing open: by user, by token, by connection, on every instance.

use serde_json::{Value, json};
use tidings::private_postgres::{Options, PrivatePostgres, Stop};

use crate::support::{Answer, Bridge, Database, Sse, Ws, admin, eventually, member, token};

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A token of ann's that was issued a minute ago, with an id.
fn issued(jti: &str, tenant: Value) -> String {
    token(json!({"sub": "ann", "tenant": tenant, "jti": jti, "iat": now_s() - 60}))
}

fn admin_of(tenant: Value) -> String {
    token(json!({"sub": "boss", "role": "admin", "tenant": tenant, "iat": now_s()}))
}

async fn revoke(bridge: &Bridge, token: &str, what: Value) -> Value {
    let (status, made) = bridge.post_as(token, "/v1/revocations", &what).await;
    assert_eq!(status, 201, "{made}");
    made
}

async fn code(bridge: &Bridge, token: &str, path: &str) -> (u16, String) {
    let (status, body) = bridge.get_as(token, path).await;
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn refused() -> (u16, String) {
    (401, "token_revoked".to_owned())
}

async fn ends_revoked(sse: &mut Sse) {
    let bye = sse.block().await.unwrap();
    let told: Value = serde_json::from_str(&bye.data).unwrap();
    assert_eq!((bye.event.as_str(), told), ("bye", json!({"code": 4511, "reason": "revoked", "reconnect": false})));
    assert!(sse.block().await.is_none());
}

async fn closes_revoked(ws: &mut Ws) {
    let told = ws.frame().await.unwrap();
    assert_eq!(told, json!({"type": "bye", "code": 4511, "reason": "revoked", "reconnect": false}));
    assert!(ws.frame().await.is_none());
    assert_eq!(u16::from(ws.close.take().unwrap().code), 4511);
}

#[tokio::test]
async fn a_revoked_user_is_out_on_every_instance_and_stays_out_after_a_restart() {
    let db = Database::new().await;
    let (one, two) = (Bridge::start(&db).await, Bridge::start(&db).await);
    let ann = issued("t-1", json!("acme"));
    let ben = token(json!({"sub": "ben", "tenant": "acme"}));
    let (mut sse, mut ws) = (Sse::open(&two, &ann, "acme", "").await, Ws::open(&two, &ann, "acme", json!({})).await);
    let mut stays = Sse::open(&two, &ben, "acme", "").await;
    let path = "/v1/tenants/acme/events?after=now&wait=60";
    let (poll, made) = tokio::join!(code(&two, &ann, path), async {
        eventually("the page waits", || async {
            let (_, stats) = two.get_as(&admin(), "/v1/stats").await;
            stats["connections"].as_array().unwrap().len() == 4
        })
        .await;
        revoke(&one, &admin_of(json!("acme")), json!({"sub": "ann"})).await
    });
    assert_eq!(poll, refused(), "a request that was waiting");
    assert_eq!((&made["tenant"], &made["sub"], &made["jti_sha256"]), (&json!("acme"), &json!("ann"), &Value::Null));
    ends_revoked(&mut sse).await;
    closes_revoked(&mut ws).await;
    for bridge in [&one, &two] {
        assert_eq!(code(bridge, &ann, "/v1/status").await, refused());
    }
    db.sentinel("acme").await;
    assert_eq!(stays.until_sentinel().await, [json!(null); 0]);
    let later = token(json!({"sub": "ann", "tenant": "acme", "iat": now_s() + 2}));
    assert_eq!(code(&two, &later, "/v1/status").await.0, 200, "whoever signs in again is in");
    one.stop().await;
    two.stop().await;
    let again = Bridge::start(&db).await;
    assert_eq!(code(&again, &ann, "/v1/tenants/acme/events").await, refused());
}

#[tokio::test]
async fn one_token_is_revoked_by_its_id_and_the_users_others_are_not() {
    let db = Database::new().await;
    let (one, two) = (Bridge::start(&db).await, Bridge::start(&db).await);
    let (lost, other) = (issued("lost", json!("acme")), issued("other", json!("acme")));
    let (mut gone, mut stays) = (Sse::open(&two, &lost, "acme", "").await, Sse::open(&two, &other, "acme", "").await);
    let made = revoke(&one, &admin(), json!({"jti": "lost"})).await;
    assert_eq!((&made["tenant"], &made["sub"]), (&Value::Null, &Value::Null));
    ends_revoked(&mut gone).await;
    assert_eq!(code(&one, &lost, "/v1/status").await, refused());
    db.sentinel("acme").await;
    assert_eq!(stays.until_sentinel().await, [json!(null); 0]);
    let kept = db.text("select string_agg(r::text, '') from tidings._revocation r").await;
    assert!(!kept.contains("lost"), "{kept}");
}

#[tokio::test]
async fn tickets_and_cookies_of_a_revoked_token_are_worth_nothing() {
    for what in [json!({"sub": "ann"}), json!({"jti": "t-1"})] {
        let db = Database::new().await;
        let bridge = Bridge::start(&db).await;
        let ann = issued("t-1", json!("acme"));
        let ticket = || async {
            let (status, made) = bridge.post_as(&ann, "/v1/tickets", &json!({})).await;
            assert_eq!(status, 201);
            made["ticket"].as_str().unwrap().to_owned()
        };
        let signed_in = Answer::of(bridge.request("GET", &format!("/?ticket={}", ticket().await))).await;
        let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
        let with_cookie = || Answer::of(bridge.request("GET", "/v1/session").header("cookie", &cookie));
        assert_eq!(with_cookie().await.status, 200);
        let (stream, page) = (ticket().await, ticket().await);
        revoke(&bridge, &admin(), what.clone()).await;
        assert_eq!(with_cookie().await.problem(), refused(), "{what}");
        let stream = bridge.request("GET", &format!("/v1/tenants/acme/events?ticket={stream}"));
        assert_eq!(Answer::of(stream.header("accept", "text/event-stream")).await.problem(), refused(), "{what}");
        let page = Answer::of(bridge.request("GET", &format!("/?ticket={page}"))).await;
        assert_eq!((page.problem(), page.header("set-cookie")), (refused(), ""), "{what}");
    }
}

#[tokio::test]
async fn a_revocation_in_one_tenant_leaves_the_others() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let both = issued("t-1", json!(["acme", "globex"]));
    let mut acme = Sse::open(&bridge, &both, "acme", "").await;
    let mut globex = Sse::open(&bridge, &both, "globex", "").await;
    let mut socket = Ws::open(&bridge, &both, "globex", json!({})).await;
    let mut of_all = Sse::at(&bridge, &admin_of(json!(["acme", "globex"])), "/v1/events", None).await;
    let path = |tenant: &str| format!("/v1/tenants/{tenant}/events?after=now&wait=60");
    let (in_acme, in_globex) = (path("acme"), path("globex"));
    let (in_acme, in_globex, ()) =
        tokio::join!(code(&bridge, &both, &in_acme), code(&bridge, &both, &in_globex), async {
            eventually("both pages wait", || async {
                let (_, stats) = bridge.get_as(&admin(), "/v1/stats").await;
                stats["connections"].as_array().unwrap().len() == 6
            })
            .await;
            revoke(&bridge, &admin_of(json!("acme")), json!({"sub": "ann"})).await;
        });
    assert_eq!((in_acme, in_globex), ((403, "forbidden".into()), (200, String::new())));
    revoke(&bridge, &admin(), json!({"sub": "boss", "tenant": "acme"})).await;
    ends_revoked(&mut acme).await;
    ends_revoked(&mut of_all).await;
    assert_eq!(code(&bridge, &both, "/v1/tenants/acme/events").await, (403, "forbidden".into()));
    assert_eq!(code(&bridge, &both, "/v1/tenants/globex/events").await.0, 200);
    assert_eq!(bridge.get_as(&both, "/v1/session").await.1["tenants"], json!(["globex"]));
    let refused = socket.subscribe("acme", "acme", json!({})).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("forbidden")));
    db.sentinel("globex").await;
    assert_eq!(globex.until_sentinel().await, [json!(null); 0]);
    assert_eq!(socket.until_sentinel().await, [json!(null); 0]);
}

#[tokio::test]
async fn an_admin_revokes_in_their_own_tenants_only() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (acme, two) = (admin_of(json!("acme")), admin_of(json!(["acme", "globex"])));
    let service = token(json!({"sub": "bot", "tenant": "acme", "role": "service"}));
    let long = "x".repeat(256);
    for (who, what, expected) in [
        (&member("acme"), json!({"sub": "ann"}), (403, "forbidden", Value::Null)),
        (&service, json!({"sub": "ann"}), (403, "forbidden", Value::Null)),
        (&acme, json!({"sub": "gus", "tenant": "globex"}), (403, "forbidden", Value::Null)),
        (&acme, json!({"jti": "t", "tenant": "Acme"}), (403, "forbidden", Value::Null)),
        (&two, json!({"sub": "ann"}), (422, "invalid_field", json!("tenant"))),
        (&two, json!({"sub": "ann", "tenant": "initech"}), (403, "forbidden", Value::Null)),
        (&acme, json!({}), (422, "invalid_field", json!("sub"))),
        (&acme, json!({"sub": "a", "jti": "b"}), (422, "invalid_field", json!("sub"))),
        (&acme, json!({"sub": ""}), (422, "invalid_field", json!("sub"))),
        (&acme, json!({"sub": long}), (422, "invalid_field", json!("sub"))),
        (&acme, json!({"jti": "a\u{0}b"}), (422, "invalid_field", json!("jti"))),
        (&acme, json!({"sub": "ann", "tenants": ["globex"]}), (422, "invalid_field", json!("body"))),
        (&admin(), json!({"sub": "ann", "tenant": ""}), (422, "invalid_field", json!("tenant"))),
    ] {
        let (status, body) = bridge.post_as(who, "/v1/revocations", &what).await;
        assert_eq!((status, body["code"].as_str().unwrap(), body["field"].clone()), expected, "{what}");
    }
    assert_eq!(db.text("select count(*)::text from tidings._revocation").await, "0");

    // Who administers everything, and a user of the same name elsewhere, are nobody of this tenant's.
    let (root, gus) = (token(json!({"sub": "ann", "role": "admin"})), token(json!({"sub": "ann", "tenant": "globex"})));
    let made = revoke(&bridge, &acme, json!({"sub": "ann"})).await;
    revoke(&bridge, &admin(), json!({"sub": "gus", "tenant": "globex"})).await;
    let everywhere = revoke(&bridge, &admin(), json!({"sub": "ira"})).await;
    assert_eq!((code(&bridge, &root, "/v1/stats").await.0, code(&bridge, &gus, "/v1/status").await.0), (200, 200));

    let of = async |who: &str| bridge.get_as(who, "/v1/revocations").await.1["revocations"].as_array().unwrap().len();
    assert_eq!((of(&acme).await, of(&two).await, of(&admin()).await), (1, 2, 3));
    let (_, page) = bridge.get_as(&admin(), "/v1/revocations?limit=2").await;
    let (_, rest) = bridge.get_as(&admin(), &format!("/v1/revocations?before={}", page["next"])).await;
    assert_eq!((&rest["revocations"][0], &rest["next"]), (&made, &Value::Null));
    assert_eq!(bridge.get_as(&service, "/v1/revocations").await.0, 403);

    let lift = async |who: &str, id: &Value| {
        bridge.send_as(who, "DELETE", &format!("/v1/revocations/{id}"), &json!({})).await.0
    };
    assert_eq!(lift(&acme, &everywhere["id"]).await, 404);
    assert_eq!(lift(&admin_of(json!("globex")), &made["id"]).await, 404);
    assert_eq!((lift(&service, &made["id"]).await, lift(&admin(), &json!("x")).await), (403, 404));
    let ann = issued("t", json!("acme"));
    assert_eq!(code(&bridge, &ann, "/v1/status").await, refused());
    assert_eq!((lift(&acme, &made["id"]).await, lift(&acme, &made["id"]).await), (204, 404));
    assert_eq!(code(&bridge, &ann, "/v1/status").await.0, 200);
}

#[tokio::test]
async fn what_a_dba_revokes_in_sql_is_revoked_and_may_be_taken_back() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let ann = issued("t-1", json!("acme"));
    let mut sse = Sse::open(&bridge, &ann, "acme", "").await;
    db.run("begin; select tidings.revoke(sub => 'ann', tenant => 'acme'); rollback").await;
    db.run("select tidings.revoke(jti => 't-1')").await;
    ends_revoked(&mut sse).await;
    db.run("select tidings.unrevoke(id) from tidings.revocations").await;
    eventually("it is good again", || async { code(&bridge, &ann, "/v1/status").await.0 == 200 }).await;
    for wrong in ["", "sub => ''", "sub => 'a', jti => 'b'", "sub => repeat('a', 256)", "sub => 'a', tenant => ''"] {
        let refused = db.client.query(&format!("select tidings.revoke({wrong})"), &[]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "22023", "{wrong}");
    }
}

#[tokio::test]
async fn a_tenant_cannot_fill_the_room_of_others_with_revocations() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    db.run(
        "insert into tidings._revocation (tenant, sub, before, expires_at, made_by)
            select 'acme', 's' || i, now(), now() + interval '1 day', 'test' from generate_series(1, 10000) i",
    )
    .await;
    let (status, body) = bridge.post_as(&admin_of(json!("acme")), "/v1/revocations", &json!({"sub": "ann"})).await;
    assert_eq!((status, &body["code"]), (429, &json!("too_many_revocations")));
    revoke(&bridge, &admin_of(json!("globex")), json!({"sub": "gus"})).await;
    db.run("update tidings._revocation set expires_at = now() where tenant = 'acme'").await;
    revoke(&bridge, &admin_of(json!("acme")), json!({"sub": "ann"})).await;
    assert_eq!(db.text("select count(*)::text from tidings._revocation").await, "2", "what no token outlives is gone");
}

#[tokio::test]
async fn an_admin_ends_a_connection_that_another_instance_holds() {
    let db = Database::new().await;
    let (one, two) = (Bridge::start(&db).await, Bridge::start(&db).await);
    // With its first checkpoint an instance is known to the others.
    let known = async || db.text("select count(*)::text from tidings.listeners").await == "2";
    eventually("they know of each other", known).await;
    let ended = async |who: &str, id: &str| bridge_delete(&one, who, &format!("/v1/connections/{id}")).await;
    let mut sse = Sse::open(&two, &member("acme"), "acme", "").await;
    let mut ws = Ws::open(&two, &member("globex"), "globex", json!({})).await;
    let (stream, socket) = (sse.hello["connection"].clone(), ws.hello["connection"].clone());
    let (stream, socket) = (stream.as_str().unwrap(), socket.as_str().unwrap());
    let (acme, root) = (admin_of(json!("acme")), admin());
    let (own, others, unknown) = tokio::join!(ended(&acme, stream), ended(&acme, socket), ended(&root, "unknown"));
    assert_eq!((own, others, unknown), (204, 404, 404));
    assert_eq!(serde_json::from_str::<Value>(&sse.block().await.unwrap().data).unwrap()["code"], 4000);
    db.sentinel("globex").await;
    assert_eq!(ws.until_sentinel().await, [json!(null); 0]);
    assert_eq!(ended(&root, socket).await, 204);
    assert_eq!(ws.frame().await.unwrap()["code"], 4000);
}

async fn bridge_delete(bridge: &Bridge, token: &str, path: &str) -> u16 {
    Answer::of(bridge.request("DELETE", path).bearer_auth(token)).await.status
}

#[tokio::test]
async fn what_was_revoked_stays_so_while_postgresql_is_away() {
    let mut server = PrivatePostgres::start(Options::default()).await.unwrap();
    let db = Database::fresh_on(&server).await;
    let bridge = Bridge::start(&db).await;
    let (ann, ben) = (issued("t-1", json!("acme")), token(json!({"sub": "ben", "tenant": "acme"})));
    let mut stays = Sse::open(&bridge, &ben, "acme", "").await;
    revoke(&bridge, &admin(), json!({"sub": "ann"})).await;
    server.halt(Stop::Immediate).await.unwrap();
    eventually("it is seen to be away", || async { bridge.get("/readyz").await.0 == 503 }).await;
    assert_eq!(code(&bridge, &ann, "/v1/status").await, refused());
    assert_eq!(code(&bridge, &ben, "/v1/status").await.0, 200, "who is not revoked is let in");
    let (status, _) = bridge.post_as(&admin(), "/v1/revocations", &json!({"sub": "ben"})).await;
    assert_eq!(status, 503, "nobody is told that it is done");
    server.boot().await.unwrap();
    eventually("it is back", || async { bridge.get("/readyz").await.0 == 200 }).await;
    let elsewhere = crate::support::connect(&db.url).await;
    elsewhere.batch_execute("select tidings.revoke(sub => 'ben')").await.unwrap();
    loop {
        let block = stays.block().await.unwrap();
        if block.event == "bye" {
            assert_eq!(serde_json::from_str::<Value>(&block.data).unwrap()["code"], 4511);
            break;
        }
    }
}
