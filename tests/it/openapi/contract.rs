//! Answers of a server held against its own document: status, media type, headers, body.

use jsonschema::Draft;
use serde_json::{Value, json};

use crate::support::Answer;

/// What a document promises.
pub struct Contract {
    document: Value,
    draft: Draft,
}

impl Contract {
    /// Of an OpenAPI document.
    pub fn of_routes(document: Value) -> Self {
        Self { document: shut(document), draft: Draft::Draft202012 }
    }

    /// Of an AsyncAPI document.
    pub fn of_messages(document: Value) -> Self {
        Self { document: shut(document), draft: Draft::Draft7 }
    }

    /// The operation of a route; none where the document has none.
    pub fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        self.document["paths"].get(path)?.get(method.to_ascii_lowercase())
    }

    /// Method, path and operation of each.
    pub fn operations(&self) -> Vec<(String, String, &Value)> {
        let paths = self.document["paths"].as_object().unwrap().iter();
        paths
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().iter();
                methods.map(move |(method, operation)| (method.to_ascii_uppercase(), path.clone(), operation))
            })
            .collect()
    }

    /// Panics where the answer is not as the operation's description says.
    pub fn hold(&self, what: &str, operation: &Value, answer: &Answer) {
        let status = answer.status.to_string();
        let described = &operation["responses"][&status];
        assert!(!described.is_null(), "{what}: {status} is not described: {answer:?}");
        let described = self.resolve(described);
        let headers = described["headers"].as_object().cloned().unwrap_or_default();
        for (name, header) in &headers {
            let (header, sent) = (self.resolve(header), answer.header(name));
            assert!(!sent.is_empty() || header["required"] != true, "{what}: no {name}: {answer:?}");
            let number = header["schema"]["type"] == "integer";
            let value = if number && !sent.is_empty() { json!(sent.parse::<i64>().unwrap()) } else { json!(sent) };
            if !sent.is_empty() {
                self.fits(&format!("{what}: {name}"), &header["schema"], &value);
            }
        }
        let kind = answer.header("content-type").split(';').next().unwrap();
        let Some(content) = described["content"].as_object() else {
            assert_eq!((kind, answer.body.as_str()), ("", ""), "{what}: no body is described");
            return;
        };
        let content = content.get(kind).unwrap_or_else(|| panic!("{what}: {kind:?} is not described: {answer:?}"));
        if kind.ends_with("json") {
            self.fits(what, &content["schema"], &answer.json());
        }
    }

    /// Panics where the value is not as the schema, which may refer to the document, says.
    pub fn fits(&self, what: &str, schema: &Value, value: &Value) {
        let root = json!({"allOf": [schema], "components": self.document["components"]});
        let validator =
            jsonschema::options().with_draft(self.draft).should_validate_formats(true).build(&root).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{what}: {errors:#?} in {value:#}");
    }

    /// The content of a message of an AsyncAPI document.
    pub fn says(&self, message: &str, value: &Value) {
        let payload = &self.document["components"]["messages"][message]["payload"];
        assert!(!payload.is_null(), "there is no message {message}");
        self.fits(message, payload, value);
    }

    /// A schema by its name; none where there is none.
    pub fn schema(&self, name: &str) -> Option<&Value> {
        self.document["components"]["schemas"].get(name)
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).unwrap(),
            None => value,
        }
    }
}

/// The same document, in which objects hold nothing but what is written there: what a server says and does not document is
/// found so. Clients are to ignore what they do not know, so the published one leaves them open.
fn shut(mut document: Value) -> Value {
    match &mut document {
        Value::Object(members) if members.contains_key("oneOf") => {}
        Value::Object(members) => {
            if members.get("type") == Some(&json!("object")) && members.contains_key("properties") {
                members.entry("additionalProperties").or_insert(false.into());
            }
            members.values_mut().for_each(|value| *value = shut(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = shut(item.take())),
        _ => {}
    }
    document
}
