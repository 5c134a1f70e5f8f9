//! How single claims are read: where a configured name points to, and which texts may name somebody.
//!
//! Used by `principal` after the signature has been checked, and by `mint` to put a claim where it will be looked for.

use serde_json::{Map, Value};

/// Longest `sub`, tenant or `jti` in bytes. They become map keys, log fields and column values.
const NAME_BYTES_MAX: usize = 255;

/// Where the four claims we need are found. A name may be a dotted path.
#[derive(Debug, Clone)]
pub(super) struct ClaimNames {
    pub(super) sub: String,
    pub(super) tenant: String,
    pub(super) role: String,
    pub(super) events: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { sub: "sub".into(), tenant: "tenant".into(), role: "role".into(), events: "events".into() }
    }
}

/// Follows a dotted path. A key that literally contains the dots wins, at every level: issuers that insist on
/// namespaced claims write `https://example.com/tenant`.
pub(super) fn find<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    let object = claims.as_object()?;
    object.get(path).or_else(|| {
        path.rmatch_indices('.')
            .find_map(|(dot, _)| object.get(&path[..dot]).and_then(|inner| find(inner, &path[dot + 1..])))
    })
}

/// Puts a claim where [`find`] looks for it: nested along the dots, or as one key where the path is a URL or runs
/// into a claim that is not an object.
pub(super) fn put(claims: &mut Map<String, Value>, path: &str, value: Value) {
    if let Some((head, rest)) = path.split_once('.').filter(|_| !path.contains("://")) {
        let inner = claims.entry(head).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(inner) = inner {
            return put(inner, rest, value);
        }
    }
    claims.insert(path.to_owned(), value);
}

/// The text of a claim that names somebody: a string, or an integer in decimal. Fractions are refused, because the
/// same number has several spellings.
pub(super) fn name(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if !number.is_f64() => number.to_string(),
        _ => return None,
    };
    is_name(&text).then_some(text)
}

/// Whether a text may name a user or a tenant: 1 to 255 bytes without control characters.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Seconds since 1970 of a NumericDate, rounded down; a date before 1970 is 0. `None`: not a number.
pub(super) fn unix_s(value: &Value) -> Option<u64> {
    // A float cast saturates: below zero gives 0, and what no u64 can hold gives the largest.
    value.as_u64().or_else(|| value.as_f64().map(|seconds| seconds as u64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dotted_name_reaches_into_objects_and_a_literal_key_wins() {
        for (claims, path, expected) in [
            (json!({"tenant": 1}), "tenant", Some(json!(1))),
            (json!({"app": {"tenant": 1}}), "app.tenant", Some(json!(1))),
            (json!({"app": {"tenant": 1}, "app.tenant": 2}), "app.tenant", Some(json!(2))),
            (json!({"a": {"b": {"c": 1}}}), "a.b.c", Some(json!(1))),
            (json!({"a": {"b.c": 1, "b": {"c": 2}}}), "a.b.c", Some(json!(1))),
            (json!({"a.b": {"c": 1}, "a": {"b": {"c": 2}}}), "a.b.c", Some(json!(1))),
            (json!({"https://a.example/tenant": 1}), "https://a.example/tenant", Some(json!(1))),
            (json!({"https://a.example/app": {"tenant": 1}}), "https://a.example/app.tenant", Some(json!(1))),
            (json!({"app": "tenant"}), "app.tenant", None),
            (json!({"app": ["tenant"]}), "app.0", None),
            (json!({"app": {}}), "app.tenant", None),
            (json!("tenant"), "tenant", None),
        ] {
            assert_eq!(find(&claims, path), expected.as_ref(), "{path} in {claims}");
        }
    }

    #[test]
    fn a_claim_is_found_where_it_was_put() {
        for path in ["tenant", "app.tenant", "app.deep.tenant", "https://a.example/tenant", "taken.tenant"] {
            let mut claims = Map::from_iter([("taken".to_owned(), json!("text")), ("app".to_owned(), json!({"x": 1}))]);
            put(&mut claims, path, json!("acme"));
            let claims = Value::Object(claims);
            assert_eq!(find(&claims, path), Some(&json!("acme")), "{path}");
            assert_eq!((&claims["taken"], &claims["app"]["x"]), (&json!("text"), &json!(1)));
        }
    }

    #[test]
    fn a_name_is_a_bounded_text_or_an_integer() {
        assert_eq!(name(&json!("acme")).as_deref(), Some("acme"));
        assert_eq!(name(&json!(42)).as_deref(), Some("42"));
        assert_eq!(name(&json!(-1)).as_deref(), Some("-1"));
        assert!(name(&json!("a".repeat(NAME_BYTES_MAX))).is_some());
        for refused in [json!(""), json!("a\nb"), json!(1.5), json!(null), json!(true), json!(["acme"]), json!({})] {
            assert_eq!(name(&refused), None, "{refused}");
        }
        assert_eq!(name(&json!("a".repeat(NAME_BYTES_MAX + 1))), None);
    }

    #[test]
    fn a_date_is_a_number_of_seconds() {
        let read = |value: Value| unix_s(&value);
        assert_eq!(read(json!(12)), Some(12));
        assert_eq!(read(json!(12.9)), Some(12));
        assert_eq!(read(json!(-5)), Some(0));
        assert_eq!(read(json!(1e300)), Some(u64::MAX));
        assert_eq!(read(json!("12")), None);
        assert_eq!(read(json!(null)), None);
    }
}
