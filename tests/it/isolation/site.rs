//! Three tenants with the same people in them, one of whose data is marked, and every way to say who one is.

use serde_json::{Value, json};

use super::rows::Who;
use crate::responder::Model;
use crate::support::{Answer, Bridge, Database, Folder, Sse, pipeline, token};

/// In everything that is globex's.
pub const MARK: &str = "quartz";

/// Acme attacks, globex is attacked, and initech is another that some of acme's people work for too. `ann` is in all of them, and
/// is somebody else in each.
const SEED: &str = "
    create table things (id int primary key, tenant text, name text);
    select tidings.watch('things', tenant => 'tenant');
    insert into things values (77001, 'globex', 'quartz thing');
    insert into users (id, tenant_id, name, email) values ('ann', 'globex', 'quartz Ann', 'quartz@globex.example');
    insert into documents (id, tenant_id, name, status, error) values
      ('doc_b', 'globex', 'quartz document', 'failed', '{\"code\": \"quartz\", \"message\": \"quartz\"}');
    insert into notifications (id, tenant_id, type, title, message) values ('ntf_b', 'globex', 'quartz', 'quartz title', 'quartz message');
    insert into chat_sessions (id, tenant_id, user_id, subject, status) values
      ('chs_b', 'globex', 'ann', 'quartz subject', 'active'), ('chs_b2', 'globex', 'ann', 'quartz', 'waiting'),
      ('chs_globex', 'globex', 'ann', 'quartz', 'active'), ('chs_acme', 'acme', 'ann', 'plain', 'active');
    insert into chat_messages (id, tenant_id, session_id, role, content, author) values ('msg_b', 'globex', 'chs_b', 'user', 'quartz', 'ann');
    select tidings.emit('globex', 'quartz.told', '{\"v\": \"quartz\"}', 'quartz', 'ann');";

/// All that is globex's in the database, to see that it stays as it is.
const THEIRS: &str = "
    select coalesce(string_agg(line, E'\\n' order by line), '') from (
      select t::text from things t where tenant = 'globex' union all select d::text from documents d where tenant_id = 'globex'
      union all select u::text from users u where tenant_id = 'globex' union all select n::text from notifications n where tenant_id = 'globex'
      union all select r::text from notification_reads r where tenant_id = 'globex'
      union all select s::text from chat_sessions s where tenant_id = 'globex'
      union all select m::text from chat_messages m where tenant_id = 'globex'
      union all select l.eid::text || l.type from tidings._log l where tenant = 'globex' and type not like 'chat.%' and type <> 'quartz.more'
      union all select i::text from tidings._idempotency i where tenant = 'globex'
      union all select d.event || d.body from tidings._delivery d where tenant = 'globex'
    ) lines (line)";

/// How a token is carried.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Bearer,
    Cookie,
    Query,
    Ticket,
    /// The cookie that a page sets for a ticket.
    SignedIn,
}

pub const FORMS: [Form; 5] = [Form::Bearer, Form::Cookie, Form::Query, Form::Ticket, Form::SignedIn];

pub struct Site {
    pub db: Database,
    pub bridge: Bridge,
    pub folder: Folder,
    /// Of globex.
    pub event: String,
    _model: Model,
}

impl Site {
    pub async fn new() -> Self {
        let (db, folder, model) = (Database::new().await, Folder::new(), Model::with([]).await);
        db.run(SEED).await;
        let event = db.text("select id from tidings.events where tenant = 'globex' limit 1").await;
        let settings = [
            ("uploads.directory", folder.path()),
            ("auth.query_token", "true"),
            ("inbound", &pipeline("document_status", json!({"tenant": "=acme"}))),
            ("responder.kind", "openai"),
            ("responder.url", &model.url),
            ("responder.model", "m"),
            ("responder.opening", ""),
            // What is edited is not answered while this test runs.
            ("responder.debounce", "1h"),
            ("limits.connections_per_user", "10000"),
        ];
        let bridge = Bridge::with(&db.url, &settings).await;
        let site = Self { db, bridge, folder, event, _model: model };
        // A key and a file that are globex's.
        let (event, path) = (json!({"type": "n", "subject": "doc_b", "audience": "ann"}), "/v1/tenants/globex/events");
        assert_eq!(
            site.send(Form::Bearer, &Who::Service.of(&["globex"]), "POST", path, Some(&event)).await.status,
            201
        );
        let path = "/v1/tenants/globex/uploads/quartz.pdf";
        assert_eq!(site.send(Form::Bearer, &Who::Ann.of(&["globex"]), "PUT", path, Some(&event)).await.status, 201);
        Sse::heard(&site.bridge, &site.db).await;
        site
    }

    /// Globex's rows and files.
    pub async fn theirs(&self) -> String {
        let files = self.folder.files().into_iter().map(|file| file.display().to_string());
        self.db.text(THEIRS).await + &files.filter(|file| file.contains("globex")).collect::<String>()
    }

    /// A request with this token in this form.
    pub async fn send(&self, form: Form, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let own = format!("http://{}", self.bridge.address);
        let and = if path.contains('?') { '&' } else { '?' };
        let mut request = match form {
            Form::Bearer => self.bridge.request(method, path).bearer_auth(token),
            Form::Cookie => self.bridge.request(method, path).header("cookie", format!("tidings={token}")),
            Form::Query => self.bridge.request(method, &format!("{path}{and}token={token}")),
            Form::Ticket => self.bridge.request(method, &format!("{path}{and}ticket={}", self.ticket(token).await)),
            Form::SignedIn => {
                let link = format!("/?ticket={}", self.ticket(token).await);
                let answer = Answer::of(self.bridge.request("GET", &link)).await;
                let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
                self.bridge.request(method, path).header("cookie", cookie)
            }
        };
        request = request.header("origin", own);
        if let Some(body) = body {
            // One that globex has used is another's own to use.
            request = request.header("idempotency-key", format!("key-{}", body["subject"])).json(body);
        }
        Answer::of(request).await
    }

    pub async fn ticket(&self, token: &str) -> String {
        let (status, made) = self.bridge.post_as(token, "/v1/tickets", &json!({})).await;
        assert_eq!(status, 201, "{made}");
        made["ticket"].as_str().unwrap().to_owned()
    }

    /// A live stream of this caller's, to be named where one is asked for.
    pub async fn stream(&self, token: &str, tenant: &str) -> (Sse, String) {
        let sse = Sse::open(&self.bridge, token, tenant, "?types=none").await;
        let id = sse.hello["connection"].as_str().unwrap().to_owned();
        (sse, id)
    }
}

impl Who {
    /// A token with this right in these tenants.
    pub fn of(self, tenants: &[&str]) -> String {
        let (sub, role) = match self {
            Self::Ann => ("ann", "member"),
            Self::Service => ("bot", "service"),
            Self::Admin => ("boss", "admin"),
        };
        token(json!({"sub": sub, "role": role, "tenant": tenants}))
    }
}

/// Everybody who is not globex's.
pub fn strangers() -> Vec<String> {
    let roles = [Who::Ann, Who::Service, Who::Admin];
    roles.iter().flat_map(|who| [who.of(&["acme"]), who.of(&["acme", "initech"])]).collect()
}
