//! Files that people upload: kept whole, under names that nobody chose, within bounds.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Answer, Bridge, Database, Folder, eventually, member, token};

struct Stage {
    _db: Database,
    folder: Folder,
    bridge: Bridge,
}

async fn stage(more: &[(&str, &str)]) -> Stage {
    let (db, folder) = (Database::new().await, Folder::new());
    let directory = format!("{}/made/when/missing", folder.path());
    let settings = [&[("uploads.directory", directory.as_str())], more].concat();
    let bridge = Bridge::with(&db.url, &settings).await;
    Stage { _db: db, folder, bridge }
}

impl Stage {
    async fn put(&self, tenant: &str, name: &str, body: impl Into<reqwest::Body>) -> Answer {
        let path = format!("/v1/tenants/{tenant}/uploads/{name}");
        Answer::of(self.bridge.request("PUT", &path).bearer_auth(member("acme")).body(body)).await
    }
}

/// A body whose length nobody announces.
fn unannounced(pieces: Vec<Vec<u8>>) -> reqwest::Body {
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)))
}

#[tokio::test]
async fn a_file_is_kept_as_it_was_sent_and_a_document_may_name_it() {
    let stage = stage(&[]).await;
    let bytes: Vec<u8> = (0..300_000u32).map(|n| n.wrapping_mul(2_654_435_761) as u8).collect();
    for body in [bytes.clone().into(), unannounced(bytes.chunks(1000).map(<[u8]>::to_vec).collect())] {
        let answer = stage.put("acme", "Plan%20A.pdf", body).await;
        assert_eq!((answer.status, &answer.json()["size"]), (201, &json!(300_000)));
        let url = answer.json()["url"].as_str().unwrap().to_owned();
        let file = format!("{}/made/when/missing/{}", stage.folder.path(), url.strip_prefix("upload:").unwrap());
        assert!(std::fs::read(file).unwrap() == bytes, "the same bytes");
        let document = json!({"name": "Plan A.pdf", "url": url, "size": 300_000});
        let (status, made) = stage.bridge.post_as(&member("acme"), "/v1/tenants/acme/documents", &document).await;
        assert_eq!((status, &made["url"]), (201, &json!(url)));
        let (status, problem) = stage
            .bridge
            .post_as(&token(json!({"sub": "eve", "tenant": "globex"})), "/v1/tenants/globex/documents", &document)
            .await;
        assert_eq!((status, &problem["field"]), (422, &json!("url")), "the file of another tenant");
    }
    assert_eq!(stage.put("acme", "empty", "").await.json()["size"], 0);
    assert_eq!(stage.folder.files().len(), 3);
}

#[tokio::test]
async fn the_file_of_another_tenant_cannot_be_named_however_its_address_is_written() {
    let stage = stage(&[]).await;
    let url = stage.put("acme", "x", "x").await.json()["url"].as_str().unwrap().to_owned();
    let address = url.strip_prefix("upload:").unwrap();
    let eve = token(json!({"sub": "eve", "tenant": "globex"}));
    for scheme in
        ["upload:", "Upload:", "UPLOAD:", " upload:", "\u{1}upload:", "up\tload:", "upload :", "upload:globex/../"]
    {
        let document = json!({"name": "x", "url": format!("{scheme}{address}")});
        let (status, problem) = stage.bridge.post_as(&eve, "/v1/tenants/globex/documents", &document).await;
        assert_eq!((status, &problem["field"]), (422, &json!("url")), "{scheme:?}");
    }
    let elsewhere = json!({"name": "x", "url": "https://example.com/upload:x"});
    assert_eq!(stage.bridge.post_as(&eve, "/v1/tenants/globex/documents", &elsewhere).await.0, 201);
}

#[tokio::test]
async fn a_name_that_climbs_out_of_the_directory_names_nothing() {
    let stage = stage(&[]).await;
    for name in ["..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "..%5C..%5Cx", "x.part"] {
        assert_eq!(stage.put("acme", name, "x").await.status, 201, "{name}");
    }
    let tenant = "..%2F..%2F..%2Fup";
    let climber = token(json!({"sub": "ann", "tenant": "../../../up"}));
    let request = stage.bridge.request("PUT", &format!("/v1/tenants/{tenant}/uploads/x")).bearer_auth(&climber);
    assert_eq!(Answer::of(request.body("x")).await.json()["url"].as_str().unwrap().split('/').count(), 2);
    let long = "ä".repeat(127);
    let request = stage.bridge.request("PUT", &format!("/v1/tenants/{long}/uploads/x"));
    let request = request.bearer_auth(token(json!({"sub": "ann", "tenant": long}))).body("x");
    assert_eq!(Answer::of(request).await.status, 201, "a tenant whose name is too long for a file");
    let directory = format!("{}/made/when/missing", stage.folder.path());
    let files = stage.folder.files();
    assert_eq!(files.len(), 6);
    for file in files {
        let path = file.strip_prefix(&directory).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!((path.components().count(), name.len()), (2, 32), "{path:?}");
        assert!(name.bytes().all(|b| b.is_ascii_hexdigit()), "{path:?}");
    }
    assert_eq!(stage.put("acme", "a%00b", "x").await.status, 404);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_before_and_while_it_comes() {
    let stage = stage(&[("uploads.bytes_max", "64KiB")]).await;
    assert_eq!(stage.put("acme", "fits", vec![0; 64 << 10]).await.status, 201);
    assert_eq!(stage.put("acme", "announced", vec![0; 32 << 20]).await.problem(), (413, "too_large".into()));
    let unannounced = unannounced(vec![vec![0; 64 << 10]; 500]);
    assert_eq!(stage.put("acme", "unannounced", unannounced).await.problem(), (413, "too_large".into()));
    eventually("one file is left", || async { stage.folder.files().len() == 1 }).await;
}

#[tokio::test]
async fn all_files_together_have_a_bound_and_taking_one_away_makes_room() {
    let stage = stage(&[("uploads.bytes_max", "60KiB"), ("uploads.bytes_total_max", "100KiB")]).await;
    assert_eq!(stage.put("acme", "first", vec![0; 60 << 10]).await.status, 201);
    assert_eq!(stage.put("acme", "second", vec![0; 60 << 10]).await.problem(), (507, "uploads_full".into()));
    let unannounced = unannounced(vec![vec![0; 1 << 10]; 60]);
    assert_eq!(stage.put("acme", "third", unannounced).await.problem(), (507, "uploads_full".into()));
    assert_eq!(stage.folder.files().len(), 1, "nothing is left of those");
    assert_eq!(stage.put("acme", "small", vec![0; 40 << 10]).await.status, 201, "what they had taken is given back");
    for file in stage.folder.files() {
        std::fs::remove_file(file).unwrap();
    }
    eventually("there is room again", || async { stage.put("acme", "fourth", vec![0; 60 << 10]).await.status == 201 })
        .await;
}

#[tokio::test]
async fn a_body_of_unknown_length_finds_the_room_that_was_made_too() {
    let stage = stage(&[("uploads.bytes_max", "96KiB"), ("uploads.bytes_total_max", "100KiB")]).await;
    assert_eq!(stage.put("acme", "first", vec![0; 96 << 10]).await.status, 201);
    for file in stage.folder.files() {
        std::fs::remove_file(file).unwrap();
    }
    eventually("there is room again", || async {
        stage.put("acme", "second", unannounced(vec![vec![0; 1 << 10]; 60])).await.status == 201
    })
    .await;
}

#[tokio::test]
async fn a_tenant_that_has_filled_its_room_leaves_that_of_others() {
    let stage = stage(&[("uploads.bytes_max", "60KiB"), ("uploads.bytes_per_tenant_max", "100KiB")]).await;
    assert_eq!(stage.put("acme", "first", vec![0; 60 << 10]).await.status, 201);
    let refused = stage.put("acme", "second", vec![0; 60 << 10]).await;
    assert!(refused.json()["detail"].as_str().unwrap().contains("uploads.bytes_per_tenant_max"), "{refused:?}");
    let request = stage.bridge.request("PUT", "/v1/tenants/globex/uploads/x").body(vec![0; 60 << 10]);
    let other = Answer::of(request.bearer_auth(token(json!({"sub": "eve", "tenant": "globex"})))).await;
    assert_eq!((refused.status, other.status), (507, 201));
}

#[tokio::test]
async fn empty_files_take_room_too() {
    let stage = stage(&[("uploads.bytes_max", "8KiB"), ("uploads.bytes_total_max", "12KiB")]).await;
    for _ in 0..3 {
        assert_eq!(stage.put("acme", "empty", "").await.status, 201);
    }
    assert_eq!(stage.put("acme", "empty", "").await.problem(), (507, "uploads_full".into()));
    assert_eq!(stage.folder.files().len(), 3);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_no_file() {
    let stage = stage(&[]).await;
    let mut socket = TcpStream::connect(stage.bridge.address).unwrap();
    let head = format!(
        "PUT /v1/tenants/acme/uploads/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\n",
        member("acme")
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(&[0; 500]).unwrap();
    eventually("it is being written", || async {
        stage.folder.files().iter().any(|file| file.metadata().unwrap().len() == 500)
    })
    .await;
    drop(socket);
    eventually("nothing is left", || async { stage.folder.files().is_empty() }).await;
}

#[tokio::test]
async fn whoever_may_not_upload_is_refused_before_the_body_is_read() {
    let stage = stage(&[]).await;
    let own = format!("http://{}", stage.bridge.address);
    let cookie = format!("tidings={}", member("acme"));
    let put = |tenant: &str, origin: &str| {
        let request = stage.bridge.request("PUT", &format!("/v1/tenants/{tenant}/uploads/x"));
        let request = request.header("cookie", &cookie).header("origin", origin);
        // Announced and never sent.
        Answer::of(
            request
                .header("content-length", "1000")
                .body(reqwest::Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>())),
        )
    };
    assert_eq!(put("acme", "https://evil.example.com").await.problem(), (403, "forbidden".into()));
    assert_eq!(put("globex", &own).await.problem(), (403, "forbidden".into()));
    assert!(stage.folder.files().is_empty());
}

#[tokio::test]
async fn a_server_that_keeps_no_files_says_so() {
    let bridge = Bridge::start(&Database::new().await).await;
    let request = bridge.request("PUT", "/v1/tenants/acme/uploads/x").bearer_auth(member("acme")).body("x");
    assert_eq!(Answer::of(request).await.problem(), (501, "no_uploads".into()));
    let document = json!({"name": "a", "url": "https://bucket.example.com/a"});
    let (status, made) = bridge.post_as(&member("acme"), "/v1/tenants/acme/documents", &document).await;
    assert_eq!((status, &made["error"]), (201, &Value::Null), "documents are elsewhere then");
}
