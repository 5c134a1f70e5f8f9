//! JSON Schema in few words, for both documents.
//!
//! Answers are open: a member may be added to one, and clients ignore what they do not know. Bodies of requests are closed,
//! because the routes refuse a member that they do not know.

use serde_json::{Map, Value, json};

/// The schema of this name among the document's components.
pub fn shared(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Any text.
pub fn text() -> Value {
    json!({"type": "string"})
}

/// A text of 1 to so many characters. The limits are in bytes, so that of characters is a little wide.
pub fn short(max: u32) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": max})
}

/// RFC 3339.
pub fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// True or false.
pub fn flag() -> Value {
    json!({"type": "boolean"})
}

/// A whole number within bounds.
pub fn whole(min: i64, max: i64) -> Value {
    json!({"type": "integer", "minimum": min, "maximum": max})
}

/// A whole number from zero on.
pub fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// A number from zero on.
pub fn number() -> Value {
    json!({"type": "number", "minimum": 0})
}

/// The same with what it is when absent.
pub fn with_default(mut schema: Value, default: impl Into<Value>) -> Value {
    schema["default"] = default.into();
    schema
}

/// One of these texts.
pub fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

/// This text.
pub fn just(value: &str) -> Value {
    json!({"const": value})
}

/// Any object.
pub fn anything() -> Value {
    json!({"type": "object"})
}

/// A list of these.
pub fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

/// This or null.
pub fn nullable(of: Value) -> Value {
    json!({"anyOf": [of, {"type": "null"}]})
}

/// With a sentence for people.
pub fn said(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

/// An object with these members; one whose name ends with `?` may be absent.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let name = |name: &str| name.trim_end_matches('?').to_owned();
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).filter(|name| !name.ends_with('?')).collect();
    let mut schema = json!({"type": "object"});
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema["properties"] = members.into_iter().map(|(member, of)| (name(member), of)).collect::<Map<_, _>>().into();
    schema
}

/// The same of a request's body, which may hold nothing else.
pub fn closed<const N: usize>(members: [(&str, Value); N]) -> Value {
    let mut schema = object(members);
    schema["additionalProperties"] = false.into();
    schema
}

/// The same object with members that may be there too.
pub fn also<const N: usize>(mut schema: Value, members: [(&str, Value); N]) -> Value {
    for (name, of) in members {
        schema["properties"][name] = of;
    }
    schema
}
