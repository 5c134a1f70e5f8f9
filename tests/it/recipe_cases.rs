//! docs/recipes/cases.sql as it stands: a table, a watch and a function are a realtime system for cases, with no Rust written.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, Delivery, Sse, Ws, admin, pipeline, token};

struct Office {
    db: Database,
    bridge: Bridge,
}

impl Office {
    /// The recipe, and a bridge that logs in with no more rights than it names.
    async fn open() -> Self {
        let db = Database::new().await;
        let recipe = format!("{}/docs/recipes/cases.sql", env!("CARGO_MANIFEST_DIR"));
        db.run(&format!("begin; {} commit", std::fs::read_to_string(recipe).unwrap())).await;
        let role = format!("{}_bridge", db.name());
        db.run(&format!(
            "create role {role} login; select tidings.grant_service('{role}');
             select tidings_app.grant_service('{role}'); select tidings_app.grant_cases('{role}');
             insert into cases (id, tenant_id, user_id, title) values
               ('c1', 'acme', 'ann', 'Parking'), ('c2', 'acme', 'bob', 'Noise'), ('g1', 'globex', 'ann', 'Water')"
        ))
        .await;
        let inbound = pipeline("case_status", json!({"name": "cases", "tenant": "tenant_id"}));
        let bridge = Bridge::with(&db.url_as(&role), &[("inbound", &inbound)]).await;
        Self { db, bridge }
    }

    /// The pipeline reports on a case of acme.
    async fn report(&self, id: &str, case: &str, more: Value) -> Answer {
        let mut body = json!({"tenant_id": "acme", "case_id": case});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Delivery::new(id, &body).send(&self.bridge, "cases").await
    }

    async fn poll(&self, token: &str, tenant: &str, case: &str) -> (u16, Value) {
        self.bridge.get_as(token, &format!("/v1/tenants/{tenant}/watched/cases/{case}")).await
    }

    async fn sentinels(&self) {
        self.db.sentinel("acme").await;
        self.db.sentinel("globex").await;
    }
}

fn user(sub: &str, tenant: &str) -> String {
    token(json!({"sub": sub, "tenant": tenant}))
}

#[tokio::test]
async fn the_owner_sees_each_step_as_it_happens_and_nobody_else_does() {
    let office = Office::open().await;
    let mut ann = Ws::open(&office.bridge, &user("ann", "acme"), "acme", json!({"types": "cases.*,sentinel"})).await;
    let mut bob = Ws::open(&office.bridge, &user("bob", "acme"), "acme", json!({})).await;
    let mut ann_of_globex = Sse::open(&office.bridge, &user("ann", "globex"), "globex", "").await;
    let mut chief = Sse::open(&office.bridge, &admin(), "acme", "").await;
    for (id, step) in [
        ("m1", json!({"status": "pending"})),
        ("m2", json!({"status": "processing"})),
        ("m3", json!({"status": "completed", "results": {"likelihood": 0.7}})),
    ] {
        assert_eq!(office.report(id, "c1", step).await.status, 200);
    }
    office.sentinels().await;
    let seen = ann.until_sentinel().await;
    let of = |member: &str| seen.iter().map(|event| event["data"][member].clone()).collect::<Vec<_>>();
    assert_eq!(of("status"), ["pending", "processing", "completed"]);
    assert_eq!(of("results"), [Value::Null, Value::Null, json!({"likelihood": 0.7})]);
    let last = &seen[2];
    assert_eq!(
        (&last["type"], &last["subject"], &last["audience"]),
        (&json!("cases.updated"), &json!("c1"), &json!("ann"))
    );
    assert_eq!(chief.until_sentinel().await, seen);
    assert_eq!(bob.until_sentinel().await, [Value::Null; 0]);
    assert_eq!(ann_of_globex.until_sentinel().await, [Value::Null; 0]);
}

#[tokio::test]
async fn the_owner_who_cannot_subscribe_polls_the_same_and_goes_on_from_there() {
    let office = Office::open().await;
    let ann = user("ann", "acme");
    assert_eq!(office.poll(&ann, "acme", "c1").await.1["data"]["status"], "uploaded");
    assert_eq!(office.report("m1", "c1", json!({"status": "processing"})).await.status, 200);
    let (status, polled) = office.poll(&ann, "acme", "c1").await;
    assert_eq!((status, &polled["data"]["status"]), (200, &json!("processing")));
    // Those who may not see it get what they would get for a case that never was.
    let none = office.poll(&user("bob", "acme"), "acme", "c9").await;
    assert_eq!(office.poll(&user("bob", "acme"), "acme", "c1").await, none);
    assert_eq!(office.poll(&user("ann", "globex"), "globex", "c1").await, none);
    assert_eq!(office.poll(&user("ann", "globex"), "acme", "c1").await.0, 403);
    // All of one's own at once, and a subscription from there misses and repeats nothing.
    let (_, all) = office.bridge.get_as(&ann, "/v1/tenants/acme/watched/cases?keys=c1,c2,g1").await;
    let keys: Vec<&Value> = all["rows"].as_array().unwrap().iter().map(|row| &row["key"]).collect();
    assert_eq!(keys, ["c1"]);
    assert_eq!(office.report("m2", "c1", json!({"status": "completed", "results": []})).await.status, 200);
    let mut sse =
        Sse::open(&office.bridge, &ann, "acme", &format!("?after={}", polled["cursor"].as_str().unwrap())).await;
    office.sentinels().await;
    let seen = sse.until_sentinel().await;
    assert_eq!(seen.iter().map(|event| &event["data"]["status"]).collect::<Vec<_>>(), ["completed"]);
}

#[tokio::test]
async fn a_report_that_comes_twice_or_is_not_signed_rightly_changes_nothing() {
    let office = Office::open().await;
    let mut ann = Sse::open(&office.bridge, &user("ann", "acme"), "acme", "").await;
    let step = json!({"status": "processing"});
    let first = office.report("m1", "c1", step.clone()).await;
    let again = office.report("m1", "c1", step.clone()).await;
    assert_eq!((first.status, again.status, &first.body), (200, 200, &again.body));
    // Reported anew, the same step changes nothing either.
    assert_eq!(office.report("m2", "c1", step.clone()).await.status, 200);
    let body = json!({"tenant_id": "acme", "case_id": "c1", "status": "failed"});
    let forged = Delivery { secret: "another secret, long enough".into(), ..Delivery::new("m3", &body) };
    assert_eq!(forged.send(&office.bridge, "cases").await.problem(), (401, "signature_wrong".into()));
    let mut old = Delivery::new("m4", &body);
    old.at -= 6 * 60;
    assert_eq!(old.send(&office.bridge, "cases").await.problem(), (401, "timestamp_outside".into()));
    office.sentinels().await;
    assert_eq!(ann.until_sentinel().await.len(), 1);
}

#[tokio::test]
async fn a_case_goes_forwards_only_and_what_failed_may_be_tried_again() {
    let office = Office::open().await;
    let error = json!({"code": "timeout", "message": "The model did not answer"});
    let steps = [
        (json!({"status": "processing"}), 200),
        (json!({"status": "pending"}), 409),
        (json!({"status": "failed", "error": error}), 200),
        (json!({"status": "failed", "error": {"code": "other", "message": "x"}}), 409),
        (json!({"status": "PENDING"}), 200),
        (json!({"status": "completed", "results": {"a": 1}}), 200),
        (json!({"status": "completed", "results": {"a": 1}}), 200),
        (json!({"status": "completed", "results": {"a": 2}}), 409),
        (json!({"status": "processing"}), 409),
    ];
    for (n, (step, status)) in steps.into_iter().enumerate() {
        let answer = office.report(&n.to_string(), "c1", step.clone()).await;
        assert_eq!(answer.status, status, "{step} {answer:?}");
        if status == 409 {
            assert_eq!(answer.json()["current"]["id"], "c1");
        }
    }
    for (more, field) in [
        (json!({"status": "uploaded"}), "status"),
        (json!({"status": "processing", "results": 1}), "results"),
        (json!({"status": "failed", "error": {"code": "x"}}), "error"),
        (json!({"status": "failed", "case_id": 7}), "case_id"),
    ] {
        let answer = office.report("m", "c2", more).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)));
    }
    assert_eq!(office.report("m", "g1", json!({"status": "failed"})).await.problem(), (404, "not_found".into()));
    assert_eq!(office.db.text("select status from cases where id = 'g1'").await, "uploaded");
}

#[tokio::test]
async fn a_function_that_forgets_the_tenant_writes_for_no_other() {
    let office = Office::open().await;
    office
        .db
        .run(
            "create or replace function tidings_app.case_status(tenant text, body jsonb) returns json language sql as
             $$ with all_of_them as (update public.cases set status = 'failed' returning id) select json_agg(id) from all_of_them $$",
        )
        .await;
    let answer = office.report("m1", "c1", json!({})).await;
    assert_eq!(answer.json(), json!(["c1", "c2"]));
    assert_eq!(office.db.text("select status from cases where id = 'g1'").await, "uploaded");
}
