//! A password file, as libpq has it: `host:port:database:role:password`, `*` for any, `\` before `:` and `\`.

/// The password of the first line that fits.
pub(super) fn find(text: &str, host: &str, port: u16, database: &str, role: &str) -> Option<String> {
    let asked = [host, &port.to_string(), database, role];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let fits = fields.len() == 5 && fields.iter().zip(asked).all(|(field, asked)| field == "*" || field == asked);
        fits.then(|| fields[4].clone())
    })
}

/// Four fields, and the rest of the line, which is the password.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut chars) = (vec![String::new()], line.chars());
    while let Some(char) = chars.next() {
        let last = fields.len() - 1;
        match char {
            ':' if last < 4 => fields.push(String::new()),
            '\\' => fields[last].extend(chars.next()),
            char => fields[last].push(char),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let file = "# comment\nother:*:*:*:no\ndb:5433:*:bridge:no\n*:5432:app:bridge:a\\:b:c\\\\\n*:*:*:*:last";
        assert_eq!(find(file, "db", 5432, "app", "bridge").as_deref(), Some("a:b:c\\"));
        assert_eq!(find(file, "db", 1, "app", "bridge").as_deref(), Some("last"));
        assert_eq!(find("x:1", "db", 1, "app", "bridge"), None);
    }
}
