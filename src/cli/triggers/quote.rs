//! Values as SQL text, for calls that people paste and files that people edit.

/// A string constant, safe under either setting of `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', r"\\")) } else { format!("'{quoted}'") }
}

/// The text of an array, as PostgreSQL writes it: `{a,"b c"}`.
pub(super) fn array(elements: &[String]) -> String {
    format!("{{{}}}", elements.iter().map(|element| one(element)).collect::<Vec<_>>().join(","))
}

fn one(element: &str) -> String {
    let special = |char: char| char.is_whitespace() || "{},\"\\".contains(char);
    if element.is_empty() || element.eq_ignore_ascii_case("null") || element.contains(special) {
        format!("\"{}\"", element.replace('\\', r"\\").replace('"', "\\\""))
    } else {
        element.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_constant_early() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"\'"), r"E'\\'''");
    }

    #[test]
    fn arrays_are_written_as_postgresql_writes_them() {
        let elements = ["a", "b c", "", "NULL", "x,y", r#"q"\"#].map(str::to_owned);
        assert_eq!(array(&elements), r#"{a,"b c","","NULL","x,y","q\"\\"}"#);
        assert_eq!(array(&[]), "{}");
    }
}
