//! Outgoing webhooks: each event that an endpoint wants is posted to it, signed, until it says that it has it.
//!
//! Place: beside the road, a consumer with deliveries. The body is the CloudEvents JSON exactly as subscribers see it, in the
//! structured mode of CloudEvents' HTTP binding; the headers are those of Standard Webhooks ([`signature`]).
//!
//! Events with an audience are sent too: the endpoint is the operator's own. Nor are addresses filtered: it is the operator who
//! writes them, not a tenant. Redirects are not followed: they would carry signed events to where nobody configured.
//!
//! Invariant: what an endpoint answers is never logged or kept, beyond its status (`what_an_endpoint_says_is_kept_nowhere`).

use std::error::Error as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use crate::config::{self, SigningKey};
use crate::delivery::{Attempt, Delivery, Outcome};
use crate::signature;

/// Media type of an event in structured mode.
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// So much of an answer is read, so that the connection can be used again, and no more.
const ANSWER_BYTES_MAX: usize = 1024;
/// Connections that nothing was sent on for so long are closed: many proxies do so after a minute.
const IDLE_MAX: Duration = Duration::from_secs(50);

/// An endpoint.
pub struct Endpoint {
    url: Url,
    keys: Vec<SigningKey>,
    headers: HeaderMap,
    client: Client,
}

impl Endpoint {
    /// From its `[[webhook]]`, which was checked when it was read.
    ///
    /// # Errors
    /// When the HTTP client cannot be made: certificates of this machine that cannot be read.
    pub fn new(webhook: &config::Webhook) -> Result<Self, reqwest::Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &webhook.headers {
            if let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), value.expose().parse::<HeaderValue>()) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .pool_idle_timeout(IDLE_MAX)
            .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { url: webhook.url.clone(), keys: webhook.keys.clone(), headers, client })
    }
}

impl Attempt for Endpoint {
    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header("content-type", CONTENT_TYPE)
            .header("webhook-id", &delivery.event)
            .header("webhook-timestamp", now_s)
            .header("webhook-signature", signature::header(&self.keys, &delivery.event, now_s, &delivery.body))
            .body(delivery.body.clone());
        match request.send().await {
            Ok(response) => {
                let outcome = judge(response.status(), response.headers(), SystemTime::now());
                drain(response).await;
                outcome
            }
            Err(error) => Outcome::retry(reason(&error)),
        }
    }
}

/// Reads what is short and lets go of what is not.
async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(piece)) = response.chunk().await {
        read += piece.len();
        if read > ANSWER_BYTES_MAX {
            return;
        }
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Outcome {
    let why = format!("the endpoint answered {}", status.as_u16());
    match status {
        _ if status.is_success() => Outcome::Done,
        StatusCode::GONE => Outcome::give_up("the endpoint answered 410: it is gone"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let after = headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
            Outcome::Retry { why, after }
        }
        _ if status.is_redirection() => Outcome::retry(format!("{why}; redirects are not followed, mend the url")),
        _ => Outcome::retry(why),
    }
}

/// Seconds, or a date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at: SystemTime = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().into();
    Some(at.duration_since(now).unwrap_or_default())
}

/// Why nothing came back, without the URL, which may hold a secret.
fn reason(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut deepest = None;
    while let Some(error) = cause {
        deepest = Some(error.to_string());
        cause = error.source();
    }
    let what = if error.is_connect() { "no connection to the endpoint" } else { "the endpoint did not answer" };
    deepest.map_or_else(|| what.to_owned(), |deepest| format!("{what}: {deepest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<&str>) -> Outcome {
        let headers = retry_after.map(|value| (RETRY_AFTER, value.parse().unwrap())).into_iter().collect();
        // Half a minute before the date of the examples in RFC 9110.
        let now = UNIX_EPOCH + Duration::from_secs(946_684_769);
        judge(StatusCode::from_u16(status).unwrap(), &headers, now)
    }

    #[test]
    fn only_2xx_is_delivered_and_only_410_is_final() {
        assert_eq!((judged(200, None), judged(204, None)), (Outcome::Done, Outcome::Done));
        assert!(matches!(judged(410, None), Outcome::GiveUp { .. }));
        for status in [100, 302, 400, 401, 404, 409, 429, 500, 503] {
            assert!(matches!(judged(status, None), Outcome::Retry { after: None, .. }), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let after = |status, text| match judged(status, Some(text)) {
            Outcome::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(429, "120"), Some(Duration::from_secs(120)));
        assert_eq!(after(503, "Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after(503, "Fri, 31 Dec 1999 23:00:00 GMT"), Some(Duration::ZERO), "past");
        assert_eq!((after(429, "soon"), after(429, "-1"), after(500, "120")), (None, None, None));
    }
}
