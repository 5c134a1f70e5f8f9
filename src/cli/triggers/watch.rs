//! One watched table: its settings as values, how two sets of settings differ, and what would be done to triggers.
//!
//! Place: both what a file asks for (the row that `tidings.watch` returned) and what the database has (a row of
//! `tidings.watches`) become a [`Watch`] here, by the same SQL, so the two can be compared.
//!
//! Why PostgreSQL makes the JSON: it alone knows how its arrays and table names are written.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Transaction;
use tokio_postgres::types::Json;

use super::quote::array;

/// A file's rows: an object of texts each, or the text of a whole row.
const OF_ROWS: &str = r#"
with w as (
  select (r).*, n
    from (select case jsonb_typeof(e.value) when 'string' then (e.value #>> '{}')::tidings.watches
                 else jsonb_populate_record(null::tidings.watches, e.value) end as r, e.n
            from jsonb_array_elements($1::jsonb) with ordinality e (value, n) offset 0) s
)"#;

const IN_DATABASE: &str = r#"
with w as (select d.*, row_number() over (order by d."table"::text) as n from tidings.watches d)"#;

/// Steps are what `tidings.watch` would do to triggers to bring the table in line.
const AS_JSON: &str = r#"
select (to_jsonb(w) - 'n' || jsonb_build_object(
         'relation', w."table"::oid::bigint,
         'table', coalesce(case when c.oid is not null then format('%I.%I', s.nspname, c.relname) end, k.name, w."table"::text),
         'usual_type', c.relname,
         'call', case when k.relation is not null then tidings._watch_call(k) end,
         'age_s', extract(epoch from now() - w.last_event_at)::float8,
         'steps', (select coalesce(jsonb_agg(jsonb_build_object(
                            'trigger', coalesce(d.name, a.name),
                            'table', (select format('%I.%I', ts.nspname, tc.relname) from pg_class tc join pg_namespace ts on ts.oid = tc.relnamespace
                                       where tc.oid = coalesce(d.relation, a.relation)),
                            'step', case when d.name is null then 'drop' when a.name is null then 'attach'
                                         when (d.bits, d.silent) is distinct from (a.bits, a.silent) then 'replace'
                                         else 'enable' end)
                          order by coalesce(d.relation, a.relation)::oid, coalesce(d.name, a.name)), '[]')
                     from tidings._triggers(t.asked) d
                     full join tidings._attached(t.asked) a on (a.relation, a.name, a.op) = (d.relation, d.name, d.op)
                    where (d.bits, d.silent, true) is distinct from (a.bits, a.silent, a.enabled)))) as watch
  from w
  left join tidings._watch k on k.relation = w."table"
  left join pg_class c on c.oid = w."table"
  left join pg_namespace s on s.oid = c.relnamespace,
       lateral (select jsonb_populate_record(null::tidings._watch, jsonb_build_object(
                  'relation', w."table"::oid::text, 'capture', k.capture, 'ops', w.ops)) as asked) t
 order by w.n"#;

/// A watched table.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Watch {
    /// With its schema and quoted as SQL wants it; what it was called, when it was dropped.
    pub(super) table: String,
    /// The table's OID, by which it stays itself under another name.
    #[serde(skip_serializing)]
    pub(super) relation: u32,
    pub(super) tenant: String,
    pub(super) columns: Option<Vec<String>>,
    pub(super) except_columns: Option<Vec<String>>,
    pub(super) ops: Vec<String>,
    pub(super) only_changed: Option<Vec<String>>,
    pub(super) subject: Option<Vec<String>>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) audience: Option<String>,
    pub(super) notify: bool,
    pub(super) strict: bool,
    pub(super) status: String,
    pub(super) watched_at: Option<String>,
    pub(super) paused_at: Option<String>,
    pub(super) triggers: Option<Vec<String>>,
    pub(super) last_event_at: Option<String>,
    pub(super) null_tenant_rows: Option<i64>,
    pub(super) failures: Option<i64>,
    /// The type where none is given.
    #[serde(skip_serializing)]
    usual_type: Option<String>,
    /// The call that makes it watched as it is; none while it is not.
    #[serde(skip_serializing)]
    pub(super) call: Option<String>,
    /// Of the newest event.
    #[serde(skip_serializing)]
    pub(super) age_s: Option<f64>,
    /// What is to be done to triggers.
    #[serde(skip_serializing)]
    pub(super) steps: Vec<Step>,
}

/// Something to be done to one trigger: attach, replace, enable or drop it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Step {
    pub(super) step: String,
    pub(super) trigger: String,
    pub(super) table: String,
}

/// What the rows returned by `tidings.watch` say, in their order.
pub(super) async fn of_rows(
    transaction: &Transaction<'_>,
    rows: Vec<Value>,
) -> Result<Vec<Watch>, tokio_postgres::Error> {
    let found = transaction.query(&format!("{OF_ROWS}{AS_JSON}"), &[&Json(rows)]).await?;
    found.iter().map(|row| row.try_get::<_, Json<Watch>>(0).map(|json| json.0)).collect()
}

/// All that the database watches, by name.
pub(super) async fn in_database(transaction: &Transaction<'_>) -> Result<Vec<Watch>, tokio_postgres::Error> {
    let found = transaction.query(&format!("{IN_DATABASE}{AS_JSON}"), &[]).await?;
    found.iter().map(|row| row.try_get::<_, Json<Watch>>(0).map(|json| json.0)).collect()
}

impl Watch {
    /// Settings by name, in the order of `tidings.watch`'s parameters.
    fn settings(&self) -> [(&'static str, Setting); 10] {
        [
            ("tenant", Setting::Text(Some(self.tenant.clone()))),
            ("columns", Setting::Set(self.columns.clone())),
            // Keeping nothing back is what no setting does too.
            ("except_columns", Setting::Set(self.except_columns.clone().filter(|columns| !columns.is_empty()))),
            ("ops", Setting::Set(Some(self.ops.clone()))),
            ("only_changed", Setting::Set(self.only_changed.clone())),
            ("subject", Setting::List(self.subject.clone())),
            ("type", Setting::Text(Some(self.kind.clone()))),
            ("audience", Setting::Text(self.audience.clone())),
            ("notify", Setting::Flag(self.notify)),
            ("strict", Setting::Flag(self.strict)),
        ]
    }

    /// Its table had columns added, renamed or dropped since.
    pub(super) fn is_altered(&self) -> bool {
        self.status == "table altered"
    }

    /// Its table is gone.
    pub(super) fn is_dropped(&self) -> bool {
        self.status == "table dropped"
    }

    /// Whether some SQL may be about the table. Without quotes a name means the same in capitals.
    pub(super) fn is_named_in(&self, sql: &str) -> bool {
        self.usual_type.as_ref().is_some_and(|name| sql.to_lowercase().contains(&name.to_lowercase()))
    }

    /// Settings that say something else in `other`: name, ours, theirs.
    pub(super) fn differences(&self, other: &Self) -> Vec<(&'static str, Setting, Setting)> {
        let pairs = self.settings().into_iter().zip(other.settings());
        pairs
            .filter(|((_, ours), (_, theirs))| ours != theirs)
            .map(|((name, ours), (_, theirs))| (name, ours, theirs))
            .collect()
    }

    /// Settings other than the tenant that are not as they are when nothing is said.
    fn unusual(&self) -> impl Iterator<Item = (&'static str, Setting)> {
        let usual = Self {
            columns: None,
            except_columns: None,
            ops: ["insert", "update", "delete"].map(str::to_owned).to_vec(),
            only_changed: None,
            subject: None,
            kind: self.usual_type.clone().unwrap_or_else(|| self.kind.clone()),
            audience: None,
            notify: true,
            strict: false,
            ..self.clone()
        };
        self.differences(&usual).into_iter().map(|(name, ours, _)| (name, ours))
    }

    /// What is set, for people: the tenant, and what is not as usual.
    pub(super) fn summary(&self) -> String {
        let mut text = format!("tenant {}", self.tenant);
        for (name, setting) in self.unusual() {
            let _ = write!(text, ", {name} {setting}");
        }
        text
    }
}

/// One setting as a value. Equal when it means the same: the order of a set of names says nothing.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Setting {
    Text(Option<String>),
    Set(Option<Vec<String>>),
    List(Option<Vec<String>>),
    Flag(bool),
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        let set =
            |names: &Option<Vec<String>>| names.as_ref().map(|names| names.iter().cloned().collect::<BTreeSet<_>>());
        match (self, other) {
            (Self::Text(one), Self::Text(two)) => one == two,
            (Self::Set(one), Self::Set(two)) => set(one) == set(two),
            (Self::List(one), Self::List(two)) => one == two,
            (Self::Flag(one), Self::Flag(two)) => one == two,
            _ => false,
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(Some(text)) => f.write_str(text),
            Self::Set(Some(names)) | Self::List(Some(names)) => f.write_str(&array(names)),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(None) | Self::Set(None) | Self::List(None) => f.write_str("not set"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(more: &str) -> Watch {
        let usual = r#"{"table": "public.t", "relation": 1, "usual_type": "t", "tenant": "tenant_id", "ops": ["insert", "update", "delete"],
                        "type": "t", "notify": true, "strict": false, "status": "active", "null_tenant_rows": 0, "failures": 0, "steps": []}"#;
        let mut all: serde_json::Map<String, Value> = serde_json::from_str(usual).unwrap();
        all.extend(serde_json::from_str::<serde_json::Map<String, Value>>(more).unwrap());
        serde_json::from_value(all.into()).unwrap()
    }

    #[test]
    fn settings_are_compared_by_what_they_mean() {
        let one = watch(r#"{"except_columns": ["a", "b"], "ops": ["update", "insert", "delete"]}"#);
        assert!(one.differences(&watch(r#"{"except_columns": ["b", "a"]}"#)).is_empty());
        assert!(watch(r#"{"except_columns": []}"#).differences(&watch("{}")).is_empty());
        let keys = watch(r#"{"subject": ["a", "b"]}"#).differences(&watch(r#"{"subject": ["b", "a"]}"#));
        assert_eq!(keys.len(), 1, "the order of a subject's parts is the subject");
        assert_eq!(watch(r#"{"columns": []}"#).differences(&watch("{}")).len(), 1, "nothing is not everything");
    }
}
