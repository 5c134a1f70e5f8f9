//! Connections of another tenant: not shown, not ended, not changed, and not told from those that never were.

use serde_json::{Value, json};

use super::rows::Who;
use super::site::{Form, Site, strangers};
use crate::support::{Sse, Ws, token};

#[tokio::test]
async fn a_connection_of_another_tenant_is_not_there() {
    let site = Site::new().await;
    let mut theirs = Sse::open(&site.bridge, &Who::Ann.of(&["globex"]), "globex", "").await;
    let mut of_both = Sse::at(&site.bridge, &Who::Admin.of(&["acme", "globex"]), "/v1/events", None).await;
    let mut silent = Ws::connect(&site.bridge, &Who::Ann.of(&["globex"])).await;
    let id = |hello: &Value| hello["connection"].as_str().unwrap().to_owned();
    let names = [id(&theirs.hello), id(&of_both.hello), id(&silent.hello)];
    let same_sub = token(json!({"sub": "ann", "role": "admin", "tenant": "acme"}));
    for token in strangers().into_iter().chain([same_sub]) {
        let stats = site.send(Form::Bearer, &token, "GET", "/v1/stats", None).await;
        for name in &names {
            assert!(!stats.body.contains(name.as_str()), "{}", stats.body);
            for (method, body) in [("DELETE", None), ("PATCH", Some(json!({"subscribe": ["none"]})))] {
                let mut answers = Vec::new();
                for name in [name.as_str(), "0123456789abcdef"] {
                    let path = format!("/v1/connections/{name}");
                    let answer = site.send(Form::Bearer, &token, method, &path, body.as_ref()).await;
                    assert!([403, 404].contains(&answer.status), "{method} {answer:?}");
                    answers.push((answer.status, answer.body));
                }
                assert_eq!(answers[0], answers[1], "{method}");
            }
        }
    }
    // They all go on, and show what they showed.
    site.db.run("select tidings.emit('globex', 'n')").await;
    assert_eq!(theirs.next().await["type"], "n");
    assert_eq!(of_both.next().await["type"], "n");
    silent.send(&json!({"type": "ping"})).await;
    assert_eq!(silent.frame().await.unwrap()["type"], "pong");
    let admin = Who::Admin.of(&["globex"]);
    let path = format!("/v1/connections/{}", names[0]);
    assert_eq!(site.send(Form::Bearer, &admin, "DELETE", &path, None).await.status, 204, "their own admin ends it");
}
