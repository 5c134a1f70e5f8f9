//! Whole answers of a server: status, headers and body, for tests that look at more than the JSON.

use std::sync::LazyLock;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::Bridge;

/// Made once, since loading certificates takes longer than most tests. It keeps no connection: that would belong to the
/// runtime of the test that opened it.
pub fn client() -> &'static Client {
    static CLIENT: LazyLock<Client> =
        LazyLock::new(|| Client::builder().redirect(Policy::none()).pool_max_idle_per_host(0).build().unwrap());
    &CLIENT
}

/// What came back. The body is empty for streams, which have no end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// Sends the request and reads the answer; redirects are answers.
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let endless = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if endless { String::new() } else { response.text().await.unwrap() };
        Self { status, headers, body }
    }

    /// Empty where the header is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Status and code of a refusal, which must be a problem.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.json()["status"], self.status);
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}

impl Bridge {
    /// A request to be completed; it follows no redirect and keeps no cookie.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client().request(Method::from_bytes(method.as_bytes()).unwrap(), self.url(path))
    }
}
