//! What a table's names let us suppose: which column tells the tenant, and what no subscriber should see.
//!
//! Pure. A guess is written into a file with its reason, for somebody to read before it is applied.

use super::catalog::{Column, Parent, Table};

/// Names of a tenant's column, without case and underscores. What comes first is more surely a tenant: a customer of an order is
/// one only where nothing else is.
const TENANT: [&[&str]; 6] = [
    &["tenantid", "tenant", "tenantuuid", "tenantkey"],
    &["orgid", "organizationid", "organisationid", "orguuid"],
    &["accountid"],
    &["workspaceid"],
    &["companyid"],
    &["customerid"],
];
/// Tables whose rows are tenants.
const TENANTS: [&str; 8] =
    ["tenants", "tenant", "organizations", "organization", "organisations", "organisation", "workspaces", "workspace"];

/// Anywhere in a name, without case and underscores.
const SECRET: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "apikey", "privatekey", "accesskey", "credential"];
/// Only as a whole word: "tokens_used" and "discard" are none of it.
const SECRET_WORDS: [&str; 14] =
    ["pwd", "token", "hash", "salt", "ssn", "card", "cvv", "cvc", "pin", "otp", "totp", "iban", "pan", "signature"];

/// How the tenant of a row is found.
#[derive(Debug, PartialEq)]
pub(super) enum Tenant<'a> {
    /// A column, and why it.
    Column { name: &'a str, why: String, nullable: bool },
    /// Through a foreign key.
    Through { expression: String, parent: &'a str, nullable: bool },
    /// Nothing fits, or several foreign keys do: their expressions.
    Unknown { candidates: Vec<String> },
}

/// The most likely tenant of a table's rows.
pub(super) fn tenant(table: &Table) -> Tenant<'_> {
    if let Some(column) = named(&table.columns, &table.key) {
        return Tenant::Column { name: &column.name, why: "its name".to_owned(), nullable: !column.not_null };
    }
    let column = |name: &str| table.columns.iter().find(|column| column.name == name);
    for parent in table.parents.iter().filter(|parent| TENANTS.contains(&folded(&parent.name).as_str())) {
        if let [only] = parent.references.as_slice()
            && let Some(column) = column(&only.from)
        {
            let why = format!("its foreign key to {}", parent.sql);
            return Tenant::Column { name: &column.name, why, nullable: !column.not_null };
        }
    }
    let nullable =
        |parent: &Parent| parent.references.iter().any(|pair| column(&pair.from).is_none_or(|column| !column.not_null));
    let through: Vec<(&Parent, String)> =
        table.parents.iter().filter_map(|parent| Some((parent, expression(table, parent)?))).collect();
    let sure: Vec<&(&Parent, String)> = through.iter().filter(|(parent, _)| !nullable(parent)).collect();
    match (sure.as_slice(), through.as_slice()) {
        ([(parent, expression)], _) | ([], [(parent, expression)]) => {
            Tenant::Through { expression: expression.clone(), parent: &parent.sql, nullable: nullable(parent) }
        }
        _ => Tenant::Unknown { candidates: through.into_iter().map(|(_, expression)| expression).collect() },
    }
}

/// Columns whose content no subscriber should see, by their names.
pub(super) fn secrets(table: &Table) -> Vec<String> {
    table.columns.iter().filter(|column| looks_secret(&column.name)).map(|column| column.name.clone()).collect()
}

fn looks_secret(name: &str) -> bool {
    let folded = folded(name);
    SECRET.iter().any(|word| folded.contains(word))
        || words(name).iter().any(|word| SECRET_WORDS.contains(&word.as_str()))
}

/// The column that is named like a tenant's. The rows of customers are told apart by customer_id, but belong to somebody else.
fn named<'a>(columns: &'a [Column], key: &[String]) -> Option<&'a Column> {
    let rank = |column: &Column| {
        let name = folded(&column.name);
        let tier = TENANT.iter().position(|names| names.contains(&name.as_str()))?;
        let own_key = tier > 0 && matches!(key, [only] if *only == column.name);
        (!own_key).then_some((tier, !column.not_null, TENANT[tier].iter().position(|other| *other == name)))
    };
    columns
        .iter()
        .filter_map(|column| Some((rank(column)?, column)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, column)| column)
}

fn expression(table: &Table, parent: &Parent) -> Option<String> {
    let tenant = named(&parent.columns, &parent.key)?;
    let pairs = parent.references.iter().map(|pair| {
        let ours = table.columns.iter().find(|column| column.name == pair.from)?;
        // Inside of the subselect a name means the parent's column first; r is the row.
        let shadowed = parent.columns.iter().any(|column| column.name == pair.from);
        Some(format!("p.{} = {}{}", pair.to, if shadowed { "r." } else { "" }, ours.quoted))
    });
    let pairs = pairs.collect::<Option<Vec<String>>>()?.join(" and ");
    Some(format!("=(select p.{} from {} p where {pairs})", tenant.quoted, parent.sql))
}

fn folded(name: &str) -> String {
    words(name).concat()
}

/// The words of a name in small letters: user_id and userId are user and id.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for char in name.chars() {
        if !char.is_alphanumeric() || (after_small && char.is_uppercase()) {
            words.push(String::new());
        }
        if char.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(char.to_lowercase());
        }
        after_small = char.is_lowercase() || char.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Columns as `name` or `name!` (NOT NULL).
    fn columns(names: &str) -> Value {
        let column = |name: &str| json!({ "name": name.trim_end_matches('!'), "quoted": name.trim_end_matches('!'), "not_null": name.ends_with('!') });
        names.split_whitespace().map(column).collect()
    }

    fn table(names: &str, parents: &[(&str, &str, &str)]) -> Table {
        let parents: Vec<Value> = parents
            .iter()
            .map(|(name, names, from)| {
                json!({ "sql": format!("public.{name}"), "name": name, "columns": columns(names), "key": ["id"], "references": [{ "from": from, "to": "id" }] })
            })
            .collect();
        let table = json!({ "sql": "public.t", "schema": "public", "name": "t", "watchable": true, "columns": columns(names), "key": ["id"], "parents": parents });
        serde_json::from_value(table).unwrap()
    }

    fn column(names: &str) -> Option<String> {
        match tenant(&table(names, &[])) {
            Tenant::Column { name, .. } => Some(name.to_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_tenant_is_known_by_its_name_and_rather_not_null() {
        assert_eq!(column("id! org_id! tenantId"), Some("tenantId".to_owned()));
        assert_eq!(column("id! tenant tenant_id!"), Some("tenant_id".to_owned()));
        assert_eq!(column("id! customer_id! workspace_id"), Some("workspace_id".to_owned()));
        assert_eq!(column("id! company name"), None, "a company's name is no key of a tenant");
    }

    #[test]
    fn a_tenant_is_found_through_the_only_foreign_key_that_leads_to_one() {
        let posts = table("id! blog_id!", &[("blogs", "id! tenant_id!", "blog_id"), ("topics", "id!", "topic_id")]);
        let expression = "=(select p.tenant_id from public.blogs p where p.id = blog_id)".to_owned();
        assert_eq!(tenant(&posts), Tenant::Through { expression, parent: "public.blogs", nullable: false });
        let two = table("id! a! b!", &[("x", "id! tenant_id", "a"), ("y", "id! tenant_id", "b")]);
        assert!(matches!(tenant(&two), Tenant::Unknown { candidates } if candidates.len() == 2));
    }

    #[test]
    fn a_column_that_its_parent_has_too_is_named_as_the_rows() {
        let child = table("id! parent!", &[("nodes", "id! parent tenant_id!", "parent")]);
        let Tenant::Through { expression, .. } = tenant(&child) else { panic!() };
        assert_eq!(expression, "=(select p.tenant_id from public.nodes p where p.id = r.parent)");
    }

    #[test]
    fn the_foreign_key_to_the_table_of_tenants_is_one() {
        let found = table("id! belongs_to!", &[("tenants", "id! name", "belongs_to")]);
        assert!(matches!(tenant(&found), Tenant::Column { name: "belongs_to", .. }));
    }

    #[test]
    fn what_looks_secret_is_told_from_what_sounds_alike() {
        let secret = [
            "password",
            "passwordHash",
            "api_key",
            "apiKey",
            "client_secret",
            "reset_token",
            "SSN",
            "card_number",
            "pwSalt",
        ];
        assert_eq!(secret.map(looks_secret), [true; 9]);
        assert_eq!(
            ["tokens_used", "discarded_at", "hashtag", "status", "company", "shipping"].map(looks_secret),
            [false; 6]
        );
    }
}
