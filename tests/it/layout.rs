//! The layouts that the functions of schema tidings_app are written for, as values: one suite asks all of them the same.

use serde_json::{Value, json};
use tidings::migrate::{Layout, Wishes, migrate};
use tokio::sync::OnceCell;
use tokio_postgres::error::DbError;

use crate::support::{Database, connect, server};

/// Name of the database that those of the Prisma layout are copies of.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();
const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// Tables as `prisma migrate` makes them, the functions for them, and the triggers of triggers/prisma.
async fn prepare() -> String {
    let db = Database::empty().await;
    let read = |path: &str| std::fs::read_to_string(format!("{FOLDER}/{path}")).unwrap();
    db.run(&read("tests/prisma/schema.sql")).await;
    let wishes = Wishes { app: Some(Layout::Prisma), ..Wishes::default() };
    migrate(&db.url.parse().unwrap(), &wishes).await.unwrap();
    for name in ["documents", "notifications", "chat_sessions", "chat_messages"] {
        db.run(&read(&format!("triggers/prisma/{name}.sql"))).await;
    }
    db.run(
        r#"insert into "Tenant" (id, name, "updatedAt") select t, t, now() from unnest('{acme,globex,initech}'::text[]) t;
           insert into "User" (id, email, name, password, "tenantId", "updatedAt") values
             ('ann', 'ann@acme.example', 'Ann', 'secret', 'acme', now()), ('bob', 'bob@acme.example', 'Bob', 'secret', 'acme', now()),
             ('gus', 'gus@globex.example', 'Gus', 'secret', 'globex', now()), ('root', 'root@host.example', 'Root', 'secret', null, now())"#,
    )
    .await;
    db.name().to_owned()
}

impl Database {
    /// A test's own database of an application that uses Prisma: tenants acme, globex and initech; ann and bob of acme, gus
    /// of globex, root of none.
    pub async fn prisma() -> Self {
        let template = TEMPLATE.get_or_init(prepare).await;
        let server = server().await;
        let name = format!("p{}", Self::empty().await.name());
        let admin = connect(&server.url("postgres")).await;
        // One copy at a time, as for the other template.
        admin.batch_execute("select pg_advisory_lock(1)").await.unwrap();
        admin.batch_execute(&format!("create database {name} template {template}")).await.unwrap();
        let url = server.url(&name);
        let client = connect(&url).await;
        client.batch_execute("select tidings._enrol()").await.unwrap();
        Self { url, client }
    }

    /// What a function of schema tidings_app answers, arguments as SQL; null where it found nothing.
    pub async fn ask(&self, call: &str) -> Result<Value, DbError> {
        let sql = format!("select (tidings_app.{call})::text");
        match self.client.query_one(&sql, &[]).await {
            Ok(row) => Ok(row.get::<_, Option<String>>(0).map_or(Value::Null, |json| json.parse().unwrap())),
            Err(error) => Err(error.as_db_error().unwrap_or_else(|| panic!("{call}: {error}")).clone()),
        }
    }

    /// The same, where nothing is to be refused.
    pub async fn answer(&self, call: &str) -> Value {
        self.ask(call).await.unwrap_or_else(|error| panic!("{call}: {error:?}"))
    }

    /// SQLSTATE, field and current state of a refusal.
    pub async fn refused(&self, call: &str) -> (String, String, Value) {
        let error = self.ask(call).await.expect_err(call);
        let current = error.detail().and_then(|detail| detail.parse().ok()).unwrap_or(Value::Null);
        (error.code().code().to_owned(), error.column().unwrap_or_default().to_owned(), current)
    }
}

/// A database and how its rows are written by hand.
pub struct Stand {
    pub name: &'static str,
    pub db: Database,
    /// `{i}` rows with ids `<prefix><i>` of tenant acme and user ann, all of the time `{at}`; the session of messages is `s`.
    pub documents: &'static str,
    pub notifications: &'static str,
    pub sessions: &'static str,
    pub messages: &'static str,
    /// What an application does with a row of each table.
    pub writes: &'static str,
}

async fn reference() -> Stand {
    let db = Database::new().await;
    db.run("insert into users (id, tenant_id, name, email) values ('bob', 'acme', 'Bob', 'bob@acme.example')").await;
    Stand {
        name: "reference",
        db,
        documents: "insert into documents (id, tenant_id, name, created_at) select 'd' || i, 'acme', 'n', '{at}' from generate_series({i}) i",
        notifications: "insert into notifications (id, tenant_id, type, title, message, created_at) select 'n' || i, 'acme', 't', 't', 'm', '{at}' from generate_series({i}) i",
        sessions: "insert into chat_sessions (id, tenant_id, user_id, created_at) select 'c' || i, 'acme', 'ann', '{at}' from generate_series({i}) i",
        messages: "insert into chat_messages (id, tenant_id, session_id, role, content, created_at) select 'm' || i, 'acme', 's', 'user', 'x', '{at}' from generate_series({i}) i",
        writes: "insert into documents (id, tenant_id, uploaded_by, name, status) values ('d', 'acme', 'ann', 'a.pdf', 'processing');
                 update documents set status = 'processed'; delete from documents;
                 insert into notifications (id, tenant_id, type, title, message, created_by) values ('n', 'acme', 't', 't', 'm', 'ann');
                 insert into chat_sessions (id, tenant_id, user_id, subject) values ('s', 'acme', 'ann', 'Hi'); update chat_sessions set status = 'active';
                 insert into chat_messages (id, tenant_id, session_id, role, status, content) values ('m', 'acme', 's', 'assistant', 'sending', '');
                 update chat_messages set status = 'sent', content = 'x'; delete from chat_messages",
    }
}

async fn prisma() -> Stand {
    Stand {
        name: "prisma",
        db: Database::prisma().await,
        documents: r#"insert into documents (id, name, type, url, status, "createdAt", "updatedAt", "userId", "tenantId") select 'd' || i, 'n', '', '', 'UPLOADED', '{at}', '{at}', 'ann', 'acme' from generate_series({i}) i"#,
        notifications: r#"insert into notifications (id, type, title, message, "createdAt", "userId", "tenantId") select 'n' || i, 't', 't', 'm', '{at}', 'ann', 'acme' from generate_series({i}) i"#,
        sessions: r#"insert into "ChatSession" (id, "createdAt", "updatedAt", "userId", "tenantId") select 'c' || i, '{at}', '{at}', 'ann', 'acme' from generate_series({i}) i"#,
        messages: r#"insert into "ChatMessage" (id, role, content, "createdAt", "updatedAt", "sessionId") select 'm' || i, 'USER', 'x', '{at}', '{at}', 's' from generate_series({i}) i"#,
        writes: r#"insert into documents (id, name, type, url, "updatedAt", "userId", "tenantId") values ('d', 'a.pdf', 'pdf', '', now(), 'ann', 'acme');
                   update documents set status = 'PROCESSED', "updatedAt" = now() + interval '1 s'; delete from documents;
                   insert into notifications (id, type, title, message, "userId", "tenantId") values ('n', 't', 't', 'm', 'ann', 'acme');
                   insert into "ChatSession" (id, subject, "updatedAt", "userId", "tenantId") values ('s', 'Hi', now(), 'ann', 'acme');
                   update "ChatSession" set status = 'ACTIVE', "updatedAt" = now() + interval '1 s';
                   insert into "ChatMessage" (id, role, status, content, "updatedAt", "sessionId") values ('m', 'ASSISTANT', 'SENDING', '', now(), 's');
                   update "ChatMessage" set status = 'SENT', content = 'x', "updatedAt" = now() + interval '1 s'; delete from "ChatMessage""#,
    }
}

/// A database of each layout.
pub async fn stands() -> [Stand; 2] {
    [reference().await, prisma().await]
}

impl Stand {
    /// Writes rows by hand: `from..=to`, all of one time.
    pub async fn rows(&self, insert: &str, from: usize, to: usize, at: &str) {
        self.db.run(&insert.replace("{i}", &format!("{from}, {to}")).replace("{at}", at)).await;
    }
}

/// A value with the name of its type in the place of each leaf; of a list no more than the first.
pub fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!(null),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        Value::Array(all) => Value::Array(all.iter().take(1).map(shape).collect()),
        Value::Object(all) => all.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
    }
}

/// The texts at one member of all in a list.
pub fn each(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|row| row[member].as_str().unwrap().to_owned()).collect()
}

/// Walks a list to its end: all ids in the order in which they came. `call` holds PLACE where the place goes.
pub async fn walk(db: &Database, call: &str, list: &str, next: &str) -> Vec<String> {
    let (mut place, mut ids) = ("null".to_owned(), Vec::new());
    loop {
        let page = db.answer(&call.replace("PLACE", &place)).await;
        ids.extend(each(&page[list], "id"));
        match page[next].as_str() {
            Some(next) => place = format!("'{next}'"),
            None => return ids,
        }
    }
}
