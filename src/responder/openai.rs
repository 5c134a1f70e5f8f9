//! A model's server that speaks OpenAI's chat completions, streamed or whole.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, future};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ResponderError;
use super::endpoint::{Endpoint, Reply};
use super::prompt;
use super::trouble::Trouble;
use super::voice::{Piece, Pieces, Question};
use crate::config;

/// The server and what it is always told.
#[derive(Clone)]
pub(super) struct Openai {
    endpoint: Endpoint,
    headers: HeaderMap,
    model: String,
    stream: bool,
}

/// One object of an answer: a part of a streamed one, or a whole one. What nobody needs is not looked at.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    model: Option<String>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

impl Openai {
    pub(super) fn new(settings: &config::Responder) -> Result<Self, ResponderError> {
        let endpoint = Endpoint::new(&format!("{}/chat/completions", settings.url.trim_end_matches('/')))?;
        let mut headers = HeaderMap::new();
        if !settings.key.is_empty() {
            let bearer = format!("Bearer {}", settings.key.expose());
            let mut value = HeaderValue::from_str(&bearer)
                .map_err(|_| ResponderError::Settings("responder.key holds what no header may"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self { endpoint, headers, model: settings.model.clone(), stream: settings.stream })
    }

    pub(super) async fn ask(self, question: Question) -> Result<Pieces, Trouble> {
        let mut body = json!({"model": self.model, "messages": prompt::lines(&question), "stream": self.stream});
        if self.stream {
            // Without it a stream does not say what it cost.
            body["stream_options"] = json!({"include_usage": true});
        }
        // A server that does not stream answers with a whole object, whatever it was asked for.
        match self.endpoint.post(body.to_string().into_bytes(), self.headers).await? {
            Reply::Events(events) => Ok(streamed(events)),
            Reply::Body(body) => {
                let mut told = Told::default();
                let text = told.hear(&body)?.ok_or_else(|| Trouble::passing("bad_answer"))?;
                Ok(stream::iter([Ok(Piece::Text(text)), Ok(Piece::Metadata(told.metadata))]).boxed())
            }
        }
    }
}

/// What an answer has told of itself so far.
#[derive(Default)]
struct Told {
    metadata: Map<String, Value>,
    finished: bool,
}

impl Told {
    /// The text of one object, if it holds some.
    fn hear(&mut self, json: &[u8]) -> Result<Option<String>, Trouble> {
        let chunk: Chunk = serde_json::from_slice(json).map_err(|_| Trouble::passing("bad_answer"))?;
        if chunk.error.is_some_and(|error| !error.is_null()) {
            return Err(Trouble::passing("model_error"));
        }
        if let Some(model) = chunk.model {
            self.metadata.insert("model".to_owned(), model.into());
        }
        if let Some(usage) = chunk.usage.filter(Value::is_object) {
            self.metadata.insert("usage".to_owned(), usage);
        }
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(None) };
        if let Some(reason) = choice.finish_reason {
            self.finished = true;
            // Everything else is cut short, by a limit or a filter.
            if reason != "stop" {
                self.metadata.insert("finish_reason".to_owned(), reason.into());
            }
        }
        Ok(choice.delta.and_then(|delta| delta.content))
    }
}

/// An answer is complete with `[DONE]`, or with a reason to finish; a stream that just ends was cut off.
fn streamed(events: BoxStream<'static, Result<String, Trouble>>) -> Pieces {
    let pieces = stream::try_unfold((events, Told::default(), false), |(mut events, mut told, done)| async move {
        if done {
            return Ok(None);
        }
        let piece = match events.next().await.transpose()? {
            Some(data) if data != "[DONE]" => Piece::Text(told.hear(data.as_bytes())?.unwrap_or_default()),
            None if !told.finished => return Err(Trouble::passing("cut_off")),
            _ => return Ok(Some((Piece::Metadata(std::mem::take(&mut told.metadata)), (events, told, true)))),
        };
        Ok(Some((piece, (events, told, false))))
    });
    let empty = |piece: &Result<Piece, Trouble>| piece == &Ok(Piece::Text(String::new()));
    pieces.filter(move |piece| future::ready(!empty(piece))).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(data: &[&str]) -> Vec<Result<Piece, Trouble>> {
        let events: Vec<_> = data.iter().map(|data| Ok((*data).to_owned())).collect();
        streamed(stream::iter(events).boxed()).collect().await
    }

    fn text(text: &str) -> Result<Piece, Trouble> {
        Ok(Piece::Text(text.into()))
    }

    #[tokio::test]
    async fn words_usage_and_model_of_a_stream_are_heard() {
        let pieces = heard(&[
            r#"{"model":"m-1","choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"delta":{"content":"Hel"}}]}"#,
            r#"{"choices":[{"delta":{"content":"lo"}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"total_tokens":7}}"#,
            "[DONE]",
        ])
        .await;
        let told = json!({"model": "m-1", "usage": {"total_tokens": 7}}).as_object().unwrap().clone();
        assert_eq!(pieces, [text("Hel"), text("lo"), Ok(Piece::Metadata(told))]);
    }

    #[tokio::test]
    async fn a_stream_that_just_ends_was_cut_off() {
        assert_eq!(
            heard(&[r#"{"choices":[{"delta":{"content":"Hel"}}]}"#]).await,
            [text("Hel"), Err(Trouble::passing("cut_off"))]
        );
        let limited = heard(&[r#"{"choices":[{"delta":{"content":"Hel"},"finish_reason":"length"}]}"#]).await;
        let told = json!({"finish_reason": "length"}).as_object().unwrap().clone();
        assert_eq!(limited, [text("Hel"), Ok(Piece::Metadata(told))]);
    }

    #[tokio::test]
    async fn an_error_or_nonsense_in_a_stream_is_one() {
        for (data, code) in
            [(r#"{"error":{"message":"overloaded"}}"#, "model_error"), ("{\"choi", "bad_answer"), ("[1]", "bad_answer")]
        {
            assert_eq!(heard(&[data]).await, [Err(Trouble::passing(code))], "{data}");
        }
    }
}
