//! A server of the application's own that makes the words. What it is asked is signed, as Standard Webhooks say.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::endpoint::{Endpoint, Reply};
use super::trouble::Trouble;
use super::voice::{Piece, Pieces, Question};
use super::{About, ResponderError};
use crate::config::{self, SigningKey};
use crate::http::credential::unix_now;
use crate::signature;

/// The server and the key that signs.
#[derive(Clone)]
pub(super) struct Webhook {
    endpoint: Endpoint,
    key: SigningKey,
}

/// An answer.
#[derive(Deserialize)]
struct Answer {
    content: String,
    #[serde(default)]
    metadata: Map<String, Value>,
}

/// A part of one that is streamed.
#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    metadata: Option<Map<String, Value>>,
    error: Option<Value>,
}

impl Webhook {
    pub(super) fn new(settings: &config::Responder) -> Result<Self, ResponderError> {
        let key = SigningKey::parse(settings.key.expose());
        let key = key.ok_or(ResponderError::Settings("responder.key signs nothing"))?;
        Ok(Self { endpoint: Endpoint::new(&settings.url)?, key })
    }

    pub(super) async fn ask(self, question: Question) -> Result<Pieces, Trouble> {
        let body = body(&question).to_string();
        let headers = self.headers(&question.answer, &body)?;
        match self.endpoint.post(body.into_bytes(), headers).await? {
            Reply::Events(events) => Ok(streamed(events)),
            Reply::Body(body) => {
                let answer: Answer = serde_json::from_slice(&body).map_err(|_| Trouble::passing("bad_answer"))?;
                Ok(stream::iter([Ok(Piece::Text(answer.content)), Ok(Piece::Metadata(answer.metadata))]).boxed())
            }
        }
    }

    /// The id is that of the answer, so each attempt at it has the same.
    fn headers(&self, id: &str, body: &str) -> Result<HeaderMap, Trouble> {
        let at_s = unix_now();
        let signature = signature::header([&self.key], id, at_s, body);
        let mut headers =
            HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"))]);
        for (name, value) in
            [("webhook-id", id), ("webhook-timestamp", &at_s.to_string()), ("webhook-signature", &signature)]
        {
            let value = HeaderValue::from_str(value).map_err(|_| Trouble::lasting("bad_id"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

fn body(question: &Question) -> Value {
    let conversation = &question.conversation;
    let line = |message: &super::application::Message| json!({"id": message.id, "role": message.role, "content": message.content, "metadata": message.metadata});
    let (about, message, edit) = match &question.about {
        About::Message(_) => ("message", conversation.messages.last().map(line), None),
        About::Opening => ("opening", None, None),
        About::Edit(text) => ("edit", None, Some(json!({"content": text}))),
    };
    json!({
        "about": about, "tenant": question.tenant, "session": conversation.session,
        "user": {"id": conversation.user.id, "name": conversation.user.name}, "system": question.system,
        "message": message, "edit": edit, "messages": conversation.messages.iter().map(line).collect::<Vec<_>>(),
    })
}

/// Parts until the body ends, as its length or chunks say; one that was cut off is an error of the connection.
fn streamed(events: BoxStream<'static, Result<String, Trouble>>) -> Pieces {
    let until_done = events.take_while(|data| std::future::ready(!matches!(data, Ok(data) if data == "[DONE]")));
    let parts = until_done.map(|data| {
        let part: Part = serde_json::from_str(&data?).map_err(|_| Trouble::passing("bad_answer"))?;
        match part {
            Part { error: Some(_), .. } => Err(Trouble::passing("model_error")),
            Part { text, metadata, .. } => {
                Ok([text.map(Piece::Text), metadata.map(Piece::Metadata)].into_iter().flatten().collect::<Vec<_>>())
            }
        }
    });
    parts
        .flat_map(|part: Result<Vec<Piece>, Trouble>| match part {
            Ok(pieces) => stream::iter(pieces.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(trouble) => stream::iter(vec![Err(trouble)]),
        })
        .boxed()
}
