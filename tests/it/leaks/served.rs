//! Server processes in whose environment every secret is a mark, and everything they write.

use std::fs::File;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::RequestBuilder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tidings::auth::mint;
use tidings::private_postgres::{Options, PrivatePostgres};
use tokio::process::{Child, Command};

use crate::cli::tidings;
use crate::responder::{Act, Model};
use crate::support::{Bridge, Database, Endpoint, Folder, Says, Smtp, eventually};

pub const DB_PASSWORD: &str = "mark-of-database-password";
pub const SECRET: &str = "mark-of-auth-secret-with-length";
const PREVIOUS: &str = "mark-of-previous-secret-with-length";
pub const INBOUND: &str = "mark-of-inbound-secret-with-length";
const WEBHOOK: &str = "mark-of-webhook-secret-with-length";
const WEBHOOK_KEY: &str = "mark-of-webhook-query";
const HEADER: &str = "mark-of-webhook-header";
const SMTP: &str = "mark-of-smtp-password";
const RESPONDER: &str = "mark-of-responder-key";
/// In all rows, payloads and bodies.
pub const ROW: &str = "mark-of-row-content";
/// In what other servers answer.
pub const ELSEWHERE: &str = "mark-of-foreign-answer";

/// A database of its own server, whose roles need passwords, and the servers that bridges speak to.
pub struct Site {
    pub db: Database,
    server: PrivatePostgres,
    endpoint: Endpoint,
    smtp: Smtp,
    model: Model,
    uploads: Folder,
    channel: String,
}

/// Constraints and functions that repeat what they are given, as those of applications do.
const TELLTALES: &str = "
    create table telltale (v text unique, n int check (n < 5));
    insert into telltale values ('mark-of-row-content');
    create or replace function tidings_app.create_document(tenant text, sub text, name text, url text, size bigint, mime_type text, metadata jsonb)
    returns json language plpgsql as $$ begin
      raise notice 'noticed %', name; raise warning 'warned of %', name;
      insert into public.telltale values (name);
      return null;
    end $$;
    create or replace function tidings_app.preferences(tenant text, sub text) returns json language plpgsql as $$ begin
      raise exception 'failed with mark-of-row-content' using detail = 'mark-of-row-content', hint = 'mark-of-row-content';
    end $$;
    create or replace function tidings_app.set_preferences(tenant text, sub text, email boolean) returns json language plpgsql as $$ begin
      raise exception 'may not touch mark-of-row-content' using errcode = '42501', detail = 'mark-of-row-content';
    end $$;
    create or replace function tidings_app.notification_counts(tenant text, sub text) returns json language sql as $$ select '\"mark-of-row-content\"'::json $$;
    create function tidings_app.take(tenant text, body jsonb) returns json language plpgsql as $$ begin
      perform (body ->> 'number')::int;
      return json_build_object('taken', true);
    end $$;
    create table \"odd
2026-01-01T00:00:00Z  INFO FORGED RECORD \u{1b}[31m\" (id int primary key, tenant text, v text);
    select tidings.watch('\"odd
2026-01-01T00:00:00Z  INFO FORGED RECORD \u{1b}[31m\"', tenant => 'tenant', type => 'odd')";

/// After it a bridge tells of the table by its name.
pub const RENAME: &str = "alter table \"odd
2026-01-01T00:00:00Z  INFO FORGED RECORD \u{1b}[31m\" rename column v to w";

impl Site {
    pub async fn new() -> Self {
        let server = PrivatePostgres::start(Options { tcp: true, ..Options::default() }).await.unwrap();
        let db = Database::fresh_on(&server).await;
        db.run(&format!("create role leaky login superuser password '{DB_PASSWORD}'")).await;
        db.run(TELLTALES).await;
        let endpoint = Endpoint::start(|_, _| Says { body: ELSEWHERE, ..Says::status(500) }).await;
        // A server that repeats what it was sent, as some do.
        let refused = |_| Act::Status(401, "x-told: mark-of-foreign-answer\r\n");
        let model = Model::with((0..40).map(refused)).await;
        let smtp = Smtp::start(|_, _| "550 mark-of-foreign-answer").await;
        let channel = db.text("select name from tidings._channel").await;
        Self { db, server, endpoint, smtp, model, uploads: Folder::new(), channel }
    }

    pub async fn run(&self, sql: &str) {
        self.db.run(sql).await;
    }

    /// All that must be found nowhere.
    pub fn marks(&self) -> Vec<(String, String)> {
        let marks = [
            ("the database's password", DB_PASSWORD),
            ("auth.secret", SECRET),
            ("auth.previous_secret", PREVIOUS),
            ("the secret of a source", INBOUND),
            ("the secret of a webhook", WEBHOOK),
            ("the query of a webhook's address", WEBHOOK_KEY),
            ("a header of a webhook", HEADER),
            ("the password for SMTP", SMTP),
            ("the key of the responder", RESPONDER),
            ("a row", ROW),
            ("what another server answered", ELSEWHERE),
            ("the channel's name", &self.channel),
        ];
        marks.map(|(what, mark)| (what.to_owned(), mark.to_owned())).into()
    }

    pub fn token(&self, claims: Value) -> String {
        let mut claims = claims;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        claims.as_object_mut().unwrap().entry("exp").or_insert(json!(now + 600));
        mint(SECRET, claims).unwrap()
    }

    pub fn member(&self) -> String {
        self.token(json!({"sub": "ann", "tenant": "acme"}))
    }

    pub fn admin(&self) -> String {
        self.token(json!({"sub": "root", "role": "admin"}))
    }

    /// The command with everything that can be secret.
    pub fn environment(&self, mut command: Command, json: bool) -> Command {
        let superuser = self.server.tcp_url(self.db.name()).unwrap();
        let place = superuser.rsplit_once('@').unwrap().1;
        let webhook = json!([{
            "name": "w", "url": format!("{}?key={WEBHOOK_KEY}", self.endpoint.url()), "secret": WEBHOOK, "headers": {"x-api-key": HEADER},
        }]);
        let inbound = json!([{"name": "pipeline", "secret": INBOUND, "call": "take"}]);
        let smtp = self.smtp.url().replacen("smtp://", &format!("smtp://user:{SMTP}@"), 1);
        for (name, value) in [
            ("TIDINGS__DATABASE__URL", format!("postgresql://leaky:{DB_PASSWORD}@{place}")),
            ("TIDINGS__DATABASE__MIGRATE", "false".into()),
            ("TIDINGS__HTTP__LISTEN", "127.0.0.1:0".into()),
            ("TIDINGS__AUTH__SECRET", SECRET.into()),
            ("TIDINGS__AUTH__PREVIOUS_SECRET", PREVIOUS.into()),
            ("TIDINGS__AUTH__QUERY_TOKEN", "true".into()),
            ("TIDINGS__WEBHOOK", webhook.to_string()),
            ("TIDINGS__INBOUND", inbound.to_string()),
            ("TIDINGS__CHANNEL", r#"[{"name": "plain", "tenant": "tenant"}]"#.into()),
            ("TIDINGS__EMAIL__SMTP", smtp),
            ("TIDINGS__EMAIL__FROM", "Acme <no-reply@acme.example>".into()),
            ("TIDINGS__EMAIL__PUBLIC_URL", "https://app.acme.example".into()),
            ("TIDINGS__EMAIL__TYPES", r#"["told"]"#.into()),
            ("TIDINGS__RESPONDER__KIND", "openai".into()),
            ("TIDINGS__RESPONDER__URL", self.model.url.clone()),
            ("TIDINGS__RESPONDER__MODEL", "m".into()),
            ("TIDINGS__RESPONDER__KEY", RESPONDER.into()),
            ("TIDINGS__RESPONDER__OPENING", String::new()),
            ("TIDINGS__UPLOADS__DIRECTORY", self.uploads.path().to_owned()),
            ("TIDINGS__DELIVERY__RETRY_AFTER_MIN", "50ms".into()),
            ("TIDINGS__DELIVERY__RETRY_AFTER_MAX", "100ms".into()),
            ("TIDINGS__DELIVERY__RETRY_FOR", "4s".into()),
            ("TIDINGS__LOG__RETENTION", "60s".into()),
            ("TIDINGS__LISTENER__CHECKPOINT_EVERY", "200ms".into()),
            ("TIDINGS__LISTENER__CHECKPOINT_TIMEOUT", "3s".into()),
            ("TIDINGS__LISTENER__BACKOFF_MAX", "500ms".into()),
            ("TIDINGS__SHUTDOWN__DRAIN", "1s".into()),
            ("TIDINGS__TRACING__FILTER", "trace".into()),
            ("TIDINGS__TRACING__JSON", json.to_string()),
        ] {
            command.env(name, value);
        }
        command
    }

    pub async fn serve(&self, json: bool) -> Served {
        let folder = Folder::new();
        let path = format!("{}/log", folder.path());
        let log = File::create(&path).unwrap();
        let mut command = self.environment(tidings(&["serve"]), json);
        let child = command.stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log)).spawn().unwrap();
        let address =
            || std::fs::read_to_string(&path).unwrap().split("listening on http://").nth(1).map(str::to_owned);
        eventually("it listens", || async { address().is_some_and(|rest| rest.contains('\n')) }).await;
        let address = address().unwrap().lines().next().unwrap().parse().unwrap();
        let served = Served { bridge: Bridge::elsewhere(address), child, path, _folder: folder };
        eventually("it is ready", || async { served.status("/readyz").await == 200 }).await;
        served
    }
}

/// One process and its log.
pub struct Served {
    pub bridge: Bridge,
    child: Child,
    path: String,
    _folder: Folder,
}

impl Served {
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.bridge.request("GET", path)
    }

    pub async fn status(&self, path: &str) -> u16 {
        self.get(path).send().await.unwrap().status().as_u16()
    }

    pub async fn status_as(&self, token: &str, path: &str) -> u16 {
        self.get(path).bearer_auth(token).send().await.unwrap().status().as_u16()
    }

    /// What it tells operators: figures, and connections.
    pub async fn public_figures(&self, site: &Site) -> String {
        let metrics = self.get("/metrics").send().await.unwrap().text().await.unwrap();
        let stats = self.get("/v1/stats").bearer_auth(site.admin()).send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("tidings_") && stats.contains("uptime_s"), "{stats}");
        metrics + &stats
    }

    /// As `ps` shows it, without the program.
    pub fn command_line(&self) -> Vec<String> {
        let line = std::fs::read_to_string(format!("/proc/{}/cmdline", self.child.id().unwrap())).unwrap();
        line.split('\0').skip(1).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    pub fn children(&self) -> String {
        let id = self.child.id().unwrap();
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default()).collect()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    /// Ends it in good order; all that it ever wrote.
    pub async fn end(mut self) -> String {
        kill_process(Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap(), Signal::TERM).unwrap();
        assert!(self.child.wait().await.unwrap().success(), "{}", self.log());
        self.log()
    }
}
