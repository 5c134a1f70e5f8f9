//! Documents over REST: created, listed, looked at, and the status of many at once.

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, admin, member, token};

const DOCUMENTS: &str = "/v1/tenants/acme/documents";

async fn get(bridge: &Bridge, rest: &str) -> (u16, Value) {
    bridge.get_as(&member("acme"), &format!("{DOCUMENTS}{rest}")).await
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

/// Status and what is wrong.
async fn field(bridge: &Bridge, rest: &str) -> (u16, Value) {
    let (status, problem) = get(bridge, rest).await;
    (status, problem["field"].clone())
}

#[tokio::test]
async fn a_list_goes_from_the_newest_backwards_in_pages_and_shows_each_document_once() {
    let db = Database::new().await;
    // Two of three were created at the same moment.
    db.run(
        "insert into documents (id, tenant_id, name, created_at)
           select 'd' || lpad(i::text, 3, '0'), 'acme', 'n', '2026-01-01Z'::timestamptz + (i / 3) * interval '1 microsecond' from generate_series(1, 120) i;
         insert into documents (id, tenant_id, name) values ('theirs', 'globex', 'n'); insert into documents (id, tenant_id, name) values ('a.b,c/d', 'acme', 'odd')",
    )
    .await;
    let bridge = Bridge::start(&db).await;
    let (status, first) = get(&bridge, "").await;
    assert_eq!((status, ids(&first["documents"]).len(), &first["documents"][0]["id"]), (200, 50, &json!("a.b,c/d")));
    assert_eq!(first["poll_after_ms"], 3000, "they wait to be processed");
    for limit in [1, 7, 40, 121, 200] {
        let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let (_, page) = get(&bridge, &format!("?limit={limit}{after}")).await;
            seen.extend(ids(&page["documents"]).into_iter().map(str::to_owned));
            pages += 1;
            assert!(page["cursor"].as_str().unwrap().starts_with("c."), "{page}");
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", next.replace('/', "%2F").replace(',', "%2C")),
                None => break,
            }
        }
        let expected: Vec<String> = (1..=120).rev().map(|i| format!("d{i:03}")).collect();
        assert_eq!((&*seen[0], &seen[1..]), ("a.b,c/d", &*expected), "limit {limit}");
        assert_eq!(pages, 121_usize.div_ceil(limit), "no empty page at the end");
    }
}

#[tokio::test]
async fn a_document_is_shown_with_the_cursor_of_its_snapshot_and_all_digits() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let body = r#"{"name": "Plan.pdf", "url": "s3://bucket/plan.pdf", "size": 9007199254740993, "mime_type": "application/pdf", "metadata": {"pages": 12345678901234567890.10}}"#;
    let request =
        bridge.request("POST", DOCUMENTS).bearer_auth(member("acme")).header("content-type", "application/json");
    let created = Answer::of(request.body(body)).await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let shown = Answer::of(bridge.request("GET", &format!("{DOCUMENTS}/{id}")).bearer_auth(member("acme"))).await;
    for digits in ["9007199254740993", "12345678901234567890.10"] {
        assert!(created.body.contains(digits) && shown.body.contains(digits), "{shown:?}");
    }
    let mut shown = shown.json();
    assert_eq!(
        (&shown["status"], &shown["uploaded_by"], &shown["poll_after_ms"]),
        (&json!("uploaded"), &json!("ann"), &json!(10_000))
    );
    assert!(shown["cursor"].is_string());
    for apart in ["cursor", "poll_after_ms"] {
        shown.as_object_mut().unwrap().remove(apart);
    }
    assert_eq!(shown, created.json());
}

#[tokio::test]
async fn a_created_documents_notification_says_who_uploaded_it() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let (_, created) =
        bridge.post_as(&member("acme"), DOCUMENTS, &json!({"name": "Plan", "mime_type": "text/plain"})).await;
    let (_, list) = bridge.get_as(&member("acme"), "/v1/tenants/acme/notifications").await;
    let told = &list["notifications"][0];
    assert_eq!(told["created_by"], json!({"id": "ann", "name": "Ann", "email": "ann@acme.example"}));
    assert_eq!(
        (&told["type"], &told["title"], &told["message"], &told["metadata"]),
        (
            &json!("document_uploaded"),
            &json!("New Document Uploaded"),
            &json!("Plan has been uploaded and is being processed."),
            &json!({"documentId": created["id"], "documentName": "Plan", "documentType": "text/plain", "uploadedBy": "ann"})
        )
    );
}

#[tokio::test]
async fn the_status_of_many_is_asked_at_once_and_unknown_ones_are_left_out() {
    let db = Database::new().await;
    db.run(
        r#"insert into documents (id, tenant_id, name, status, stage, progress, error) values
             ('a', 'acme', 'n', 'processing', 'ocr', 40, null), ('b', 'acme', 'n', 'failed', null, null, '{"code": "bad_pdf", "message": "no pages"}'),
             ('c', 'acme', 'n', 'processed', null, 100, null), ('d', 'acme', 'n', 'uploaded', null, null, null), ('g', 'globex', 'n', 'processing', null, null, null)"#,
    )
    .await;
    let bridge = Bridge::start(&db).await;
    let asked = json!({"document_ids": ["b", "a", "a", "nothing", "g", "b"]});
    let request = bridge.request("POST", &format!("{DOCUMENTS}/status")).bearer_auth(member("acme")).json(&asked);
    let answer = Answer::of(request).await;
    let mut rows = answer.json().as_array().unwrap().clone();
    rows.sort_by_key(|row| row["id"].to_string());
    assert_eq!(
        rows,
        [
            json!({"id": "a", "status": "processing", "error": null, "progress": 40, "stage": "ocr"}),
            json!({"id": "b", "status": "failed", "error": {"code": "bad_pdf", "message": "no pages"}, "progress": null, "stage": null}),
        ]
    );
    assert_eq!((answer.status, answer.header("poll-after-ms"), answer.header("etag")), (200, "3000", ""));
    for (asked, found, pace) in
        [("a,c", 2, 3000), ("c,d", 2, 10_000), ("b,c", 2, 0), ("nothing,g", 0, 0), ("d,a,b,c,c", 4, 3000)]
    {
        let (status, body) = get(&bridge, &format!("/status?ids={asked}")).await;
        let count = body["documents"].as_array().unwrap().len();
        assert_eq!((status, count, &body["poll_after_ms"]), (200, found, &json!(pace)), "{asked}");
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_by_its_field() {
    let db = Database::new().await;
    let bridge = Bridge::start(&db).await;
    let many = |count: usize| (0..count).map(|i| format!("d{i}")).collect::<Vec<_>>();
    for (rest, name) in [
        ("?limit=0", "limit"),
        ("?limit=201", "limit"),
        ("?limit=NaN", "limit"),
        ("?after=x", "after"),
        ("?after=p.x.y", "after"),
        ("?after=p.1.", "after"),
        ("?after=p.12345678901234567.a", "after"),
        ("?after=p.1.a%00", "after"),
        ("/status", "ids"),
        ("/status?ids=", "ids"),
        ("/status?ids=a,,b", "ids"),
        ("/status?ids=%00", "ids"),
        (&*format!("/status?ids={}", many(501).join(",")), "ids"),
    ] {
        assert_eq!(field(&bridge, rest).await, (422, json!(name)), "{rest}");
    }
    assert_eq!(get(&bridge, &format!("/status?ids={}", many(500).join(","))).await.0, 200);
    for body in [
        json!({}),
        json!({"document_ids": []}),
        json!({"document_ids": "a"}),
        json!({"document_ids": [1]}),
        json!({"document_ids": [""]}),
        json!({"document_ids": ["a\u{0}"]}),
        json!({"document_ids": ["a".repeat(1025)]}),
        json!({"document_ids": many(501)}),
        json!({"document_ids": null}),
    ] {
        let (status, problem) = bridge.post_as(&member("acme"), &format!("{DOCUMENTS}/status"), &body).await;
        assert_eq!((status, &problem["field"]), (422, &json!("document_ids")), "{body}");
    }
    for (more, name) in [
        (json!({"name": null}), "name"),
        (json!({"name": 7}), "name"),
        (json!({"name": "a\u{0}"}), "name"),
        (json!({"url": "java\u{9}script:alert(1)"}), "url"),
        (json!({"url": " DATA:text/html,x"}), "url"),
        (json!({"url": "x".repeat(2049)}), "url"),
        (json!({"size": 1.5}), "size"),
        (json!({"size": "7"}), "size"),
        (json!({"size": 1e30}), "size"),
        (json!({"mime_type": "\u{0}"}), "mime_type"),
        (json!({"metadata": [1]}), "metadata"),
        (json!({"metadata": {"a": "\u{0}"}}), "metadata"),
        (json!({"document_ids": ["a"]}), "document_ids"),
    ] {
        let mut body = json!({"name": "Plan"});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let (status, problem) = bridge.post_as(&member("acme"), DOCUMENTS, &body).await;
        assert_eq!((status, &problem["field"]), (422, &json!(name)), "{body}: {problem}");
    }
    let (status, problem) = bridge.post_as(&member("acme"), DOCUMENTS, &json!([1])).await;
    assert_eq!((status, &problem["field"]), (422, &json!("body")));
    assert_eq!(
        bridge.post_as(&admin(), "/v1/tenants/nobody/documents", &json!({"name": "a"})).await.1["field"],
        "tenant"
    );
    assert_eq!(db.text("select count(*)::text from documents").await, "0");
}

#[tokio::test]
async fn documents_of_another_tenant_are_answered_like_ones_that_never_were() {
    let db = Database::new().await;
    db.run("insert into documents (id, tenant_id, name) values ('theirs', 'globex', 'n')").await;
    let bridge = Bridge::start(&db).await;
    let whole = async |token: &str, method: &str, path: &str, body: Value| {
        let mut request = bridge.request(method, path).bearer_auth(token).header("x-request-id", "same");
        if method != "GET" {
            request = request.json(&body);
        }
        let answer = Answer::of(request).await;
        let mut headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.retain(|header| !header.starts_with("date:"));
        (answer.status, headers, answer.body)
    };
    let ours = member("acme");
    let cases = [("GET", "/theirs", "/never", 404), ("GET", "/status?ids=theirs", "/status?ids=never", 200)];
    for (method, theirs, never, status) in cases {
        let found = whole(&ours, method, &format!("{DOCUMENTS}{theirs}"), Value::Null).await;
        assert_eq!(found.0, status);
        assert_eq!(found, whole(&ours, method, &format!("{DOCUMENTS}{never}"), Value::Null).await);
    }
    let status = |id: &str| json!({"document_ids": [id]});
    assert_eq!(
        whole(&ours, "POST", &format!("{DOCUMENTS}/status"), status("theirs")).await,
        whole(&ours, "POST", &format!("{DOCUMENTS}/status"), status("never")).await
    );
    // Nor does it matter whether a tenant is there at all.
    for (method, rest) in
        [("GET", ""), ("GET", "/theirs"), ("GET", "/status?ids=theirs"), ("POST", ""), ("POST", "/status")]
    {
        let of = async |tenant: &str| {
            whole(&ours, method, &format!("/v1/tenants/{tenant}/documents{rest}"), json!({"name": "n"})).await
        };
        let refused = of("globex").await;
        assert_eq!((refused.0, &refused), (403, &of("never").await), "{method} {rest}");
        assert_eq!(Answer::of(bridge.request(method, &format!("{DOCUMENTS}{rest}"))).await.problem().0, 401);
    }
}

#[tokio::test]
async fn a_token_whose_globs_show_no_document_event_sees_no_documents() {
    let db = Database::new().await;
    db.run("insert into documents (id, tenant_id, name) values ('d', 'acme', 'n')").await;
    let bridge = Bridge::start(&db).await;
    for (globs, status) in [("chat.*", 404), ("documents.deleted", 404), ("documents.up*", 200), ("*.inserted", 200)] {
        let token = token(json!({"sub": "ann", "tenant": "acme", "events": globs}));
        for rest in ["", "/d", "/status?ids=d"] {
            assert_eq!(bridge.get_as(&token, &format!("{DOCUMENTS}{rest}")).await.0, status, "{globs} {rest}");
        }
        let asked = bridge.post_as(&token, &format!("{DOCUMENTS}/status"), &json!({"document_ids": ["d"]})).await;
        assert_eq!(asked.0, status, "{globs}");
    }
}
