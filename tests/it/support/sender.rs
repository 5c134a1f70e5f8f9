//! A sender of signed webhooks, as Standard Webhooks describes one.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Answer, Bridge};

/// What the tests' sources sign with.
pub const WEBHOOK_SECRET: &str = "a webhook secret of the tests";

/// A delivery that is not on its way yet.
#[derive(Clone)]
pub struct Delivery {
    pub id: String,
    pub at: u64,
    pub secret: String,
    pub body: String,
}

impl Delivery {
    pub fn new(id: &str, body: &Value) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Self { id: id.to_owned(), at, secret: WEBHOOK_SECRET.to_owned(), body: body.to_string() }
    }

    pub fn signature(&self) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(format!("{}.{}.{}", self.id, self.at, self.body).as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    /// The request, signed.
    pub fn request(&self, bridge: &Bridge, source: &str) -> RequestBuilder {
        self.unsigned(bridge, source).header("webhook-signature", self.signature())
    }

    pub fn unsigned(&self, bridge: &Bridge, source: &str) -> RequestBuilder {
        bridge
            .request("POST", &format!("/v1/webhooks/{source}"))
            .header("content-type", "application/json")
            .header("webhook-id", &self.id)
            .header("webhook-timestamp", self.at)
            .body(self.body.clone())
    }

    pub async fn send(&self, bridge: &Bridge, source: &str) -> Answer {
        Answer::of(self.request(bridge, source)).await
    }
}

/// The setting `inbound` with one source `pipeline` for a function; `more` holds other keys.
pub fn pipeline(call: &str, more: Value) -> String {
    let mut source = json!({"name": "pipeline", "secret": WEBHOOK_SECRET, "call": call});
    source.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    json!([source]).to_string()
}
