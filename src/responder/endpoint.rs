//! A request to whoever makes the words, and what comes back: JSON, or events that are streamed.
//!
//! Bodies are bounded and never logged; nor is the address, which may hold a key. Redirects are not followed: what is sent
//! holds a key and what users said, and goes where the operator wrote.

use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, future};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use super::ResponderError;
use super::trouble::Trouble;
use crate::config::is_loopback;

/// An answer is text, and its envelope some times as large.
const BODY_BYTES_MAX: usize = 8 << 20;
/// A server that is there answers a connection sooner.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A user waits: whoever wants to be left alone for longer will be asked again anyway.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Where to ask.
#[derive(Clone)]
pub(super) struct Endpoint {
    client: Client,
    url: Url,
}

/// What came back.
pub(super) enum Reply {
    /// The data of events.
    Events(BoxStream<'static, Result<String, Trouble>>),
    /// A whole body.
    Body(Vec<u8>),
}

impl Endpoint {
    pub(super) fn new(url: &str) -> Result<Self, ResponderError> {
        let url = Url::parse(url).map_err(|_| ResponderError::Settings("responder.url is no URL"))?;
        let agent = concat!("tidings/", env!("CARGO_PKG_VERSION"));
        let mut builder = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT_TIMEOUT).user_agent(agent);
        if is_loopback(url.host_str().unwrap_or_default()) {
            // A proxy would look for the address on its own machine.
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // Otherwise a machine without root certificates could not be asked without them.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self { client: builder.build()?, url })
    }

    /// Posts JSON.
    pub(super) async fn post(&self, body: Vec<u8>, headers: HeaderMap) -> Result<Reply, Trouble> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").headers(headers);
        let response = request.body(body).send().await.map_err(|error| unanswered(&error))?;
        if !response.status().is_success() {
            return Err(refused(&response));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let streamed = kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream");
        let bytes = bounded(response);
        if streamed { Ok(Reply::Events(events(bytes).boxed())) } else { Ok(Reply::Body(whole(bytes).await?)) }
    }
}

fn unanswered(error: &reqwest::Error) -> Trouble {
    Trouble::passing(if error.is_connect() { "unreachable" } else { "cut_off" })
}

/// What may pass is tried again: too much, too early, and whatever is the server's own fault.
fn refused(response: &Response) -> Trouble {
    let status = response.status();
    let passes = status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status);
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    Trouble { code: format!("http_{}", status.as_u16()).into(), passes, after }
}

fn bounded(response: Response) -> impl Stream<Item = Result<Bytes, Trouble>> + Send + 'static {
    let mut left = BODY_BYTES_MAX;
    response.bytes_stream().map_err(|error| unanswered(&error)).and_then(move |bytes| {
        let fits = left.checked_sub(bytes.len());
        left = fits.unwrap_or(0);
        future::ready(fits.map(|_| bytes).ok_or_else(|| Trouble::lasting("too_long")))
    })
}

fn events(
    bytes: impl Stream<Item = Result<Bytes, Trouble>> + Send + 'static,
) -> impl Stream<Item = Result<String, Trouble>> + Send {
    bytes.boxed().eventsource().map_ok(|event| event.data).map_err(|error| match error {
        EventStreamError::Transport(trouble) => trouble,
        EventStreamError::Utf8(_) | EventStreamError::Parser(_) => Trouble::passing("bad_answer"),
    })
}

async fn whole(bytes: impl Stream<Item = Result<Bytes, Trouble>>) -> Result<Vec<u8>, Trouble> {
    bytes
        .try_fold(Vec::new(), |mut body, bytes| {
            body.extend_from_slice(&bytes);
            future::ready(Ok(body))
        })
        .await
}
