//! The description of one route, as an OpenAPI operation is put together.
//!
//! What follows from the route itself is not written down each time: the variables of its path, and the refusals that every
//! credential, tenant, body and query can meet.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use warp::http::Method;

use super::refusal;
use super::schema::{short, text, whole};

/// What one route takes and answers.
pub struct Operation {
    /// The route's method.
    pub method: Method,
    /// The route's address.
    pub path: &'static str,
    members: Map<String, Value>,
    parameters: Vec<Value>,
    answers: BTreeMap<u16, Value>,
}

/// The description of a route that asks for a credential, below a tag. `id` is what generated clients call it.
pub fn operation(method: Method, path: &'static str, tag: &str, id: &str, summary: &str) -> Operation {
    let mut members = Map::new();
    members.insert("tags".into(), json!([tag]));
    members.insert("operationId".into(), id.into());
    members.insert("summary".into(), summary.into());
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names.map(variable).collect();
    let within_tenant = path.contains("{tenant}");
    let new = Operation { method, path, members, parameters, answers: BTreeMap::new() };
    let new = new.refuses(&[400, 401, 414, 415, 422, 429, 431, 503]);
    if within_tenant { new.refuses(&[403, 404]) } else { new }
}

/// A variable segment of a path.
fn variable(name: &str) -> Value {
    let (max, says) = match name {
        "tenant" => (
            255,
            "The tenant, percent-encoded. One that the credential is not for is refused with \
             403.",
        ),
        "connection" => (64, "As in `hello`."),
        "table" => (255, "The watch's type, the table's name, or schema.table."),
        "key" => (1024, "An event's subject: the row's key as text."),
        "session" => (255, "The session's id."),
        "file" | "name" => (255, "The file's name."),
        "token" => (4096, "As it stands in the letter."),
        "source" => (255, "A name of the configuration."),
        _ => (1024, "Its id."),
    };
    json!({"name": name, "in": "path", "required": true, "schema": short(max), "description": says})
}

impl Operation {
    /// More than fits into the summary. Markdown.
    pub fn about(mut self, description: &str) -> Self {
        self.members.insert("description".into(), description.into());
        self
    }

    /// Asks for no credential.
    pub fn public(mut self) -> Self {
        self.members.insert("security".into(), json!([]));
        for status in [401, 422, 503] {
            self.answers.remove(&status);
        }
        self
    }

    /// A parameter of the query that may be absent.
    pub fn query(mut self, name: &str, schema: Value, says: &str) -> Self {
        let mut parameter = json!({"name": name, "in": "query", "schema": schema, "description": says});
        // An empty one counts as absent: forms and URLSearchParams send them.
        parameter["allowEmptyValue"] = true.into();
        if parameter["schema"]["type"] == "array" {
            // Comma-separated, as all lists here are.
            parameter["style"] = "form".into();
            parameter["explode"] = false.into();
        }
        self.parameters.push(parameter);
        self
    }

    /// The last parameter must be given.
    pub fn required(mut self) -> Self {
        if let Some(parameter) = self.parameters.last_mut() {
            parameter["required"] = true.into();
            parameter["allowEmptyValue"] = false.into();
        }
        self
    }

    /// A header of the request that may be absent.
    pub fn header(mut self, name: &str, schema: Value, says: &str) -> Self {
        self.parameters.push(json!({"name": name, "in": "header", "schema": schema, "description": says}));
        self
    }

    /// A JSON body.
    pub fn body(self, schema: Value) -> Self {
        self.optional_body(schema, true).refuses(&[400, 408, 413, 415])
    }

    /// A JSON body that may be absent where `required` is false.
    pub fn optional_body(mut self, schema: Value, required: bool) -> Self {
        let body = json!({"required": required, "content": {"application/json": {"schema": schema}}});
        self.members.insert("requestBody".into(), body);
        self.refuses(&[400, 408, 413, 415])
    }

    /// A body of any kind, taken as it is.
    pub fn bytes(mut self) -> Self {
        let body = json!({"required": false, "content": {"*/*": {}}});
        self.members.insert("requestBody".into(), body);
        self.refuses(&[400, 408, 413])
    }

    /// Answers with JSON.
    pub fn answers(self, status: u16, says: &str, schema: Value) -> Self {
        self.answers_as(status, says, "application/json", schema)
    }

    /// Answers with this media type too.
    pub fn answers_as(mut self, status: u16, says: &str, kind: &str, schema: Value) -> Self {
        let answer = self.answers.entry(status).or_insert_with(|| bare(says));
        answer["content"][kind] = json!({"schema": schema});
        self
    }

    /// Answers without a body.
    pub fn answers_bare(mut self, status: u16, says: &str) -> Self {
        self.answers.insert(status, bare(says));
        self
    }

    /// A header that this answer carries.
    pub fn carries(self, status: u16, name: &str, schema: Value, says: &str) -> Self {
        let mut operation = self.may_carry(status, name, schema, says);
        if let Some(answer) = operation.answers.get_mut(&status) {
            answer["headers"][name]["required"] = true.into();
        }
        operation
    }

    /// A header that this answer carries where it applies.
    fn may_carry(mut self, status: u16, name: &str, schema: Value, says: &str) -> Self {
        let answer = self.answers.entry(status).or_insert_with(|| bare(""));
        answer["headers"][name] = json!({"schema": schema, "description": says});
        self
    }

    /// Refuses with these, besides what follows from the route.
    pub fn refuses(mut self, statuses: &[u16]) -> Self {
        for status in statuses {
            self.answers.insert(*status, refusal::reference(*status));
        }
        self
    }

    /// A route of the application's tables: its functions may be missing, and a user may ask too often.
    pub fn of_application(self) -> Self {
        self.refuses(&[429, 501])
    }

    /// A GET that is polled: conditional, and it says when to ask again.
    pub fn polled(self) -> Self {
        let tag = "Of the content without its cursor; send it back as If-None-Match.";
        let pause = "Ask again after so many milliseconds; 0: not any more.";
        let says = "An ETag of an earlier answer: what is still the same is not sent again.";
        let mut polled = self.header("if-none-match", text(), says).answers_bare(304, "Nothing has changed.");
        for status in [200, 304] {
            polled = polled.may_carry(status, "etag", text(), tag);
            polled = polled.may_carry(status, "poll-after-ms", whole(0, 86_400_000), pause);
        }
        polled
    }

    /// The operation as the document has it.
    pub fn finish(self) -> Value {
        let mut members = self.members;
        if !self.parameters.is_empty() {
            members.insert("parameters".into(), self.parameters.into());
        }
        let answers: Map<_, _> =
            self.answers.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect();
        members.insert("responses".into(), answers.into());
        members.into()
    }
}

/// What every answer has.
fn bare(says: &str) -> Value {
    json!({"description": says, "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}}})
}
