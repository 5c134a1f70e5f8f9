//! A chat: someone asks and waits, support takes it up, they type and talk, it ends.

use std::time::{Duration, Instant};

use rand::{random_bool, random_range};
use serde_json::json;
use tokio_postgres::Client;

use super::pick;
use crate::cli::Failure;
use crate::cli::demo::is_refusal;
use crate::cli::demo::seed::Tenant;

const SUBJECTS: [&str; 8] = [
    "Upload does not finish",
    "Invoice address",
    "How do I share a document?",
    "Cannot sign in",
    "Export as CSV",
    "Search finds nothing",
    "Storage is full",
    "Scan is upside down",
];
/// What the user says and what support answers, in turns.
const LINES: [(&str, &str); 6] = [
    ("Hello, is somebody there?", "Yes, hello! What can I do for you?"),
    ("It has been at 55 % for a while.", "Let me have a look at the log."),
    ("It worked yesterday.", "We changed something this morning. One moment, please."),
    ("Should I upload it again?", "Please do, I am watching from here."),
    ("That looks better.", "Good, it has just been processed."),
    ("Thank you!", "You are welcome. Have a good day."),
];
/// How long a user waits until support has time, and both between two lines, in milliseconds.
const WAIT_MS: (u64, u64) = (8_000, 40_000);
const THINK_MS: (u64, u64) = (1_500, 6_000);
/// Typing takes that long; pages show it for a few seconds.
const TYPE_MS: (u64, u64) = (1_200, 3_000);

/// A chat that has not ended.
pub(super) struct Chat {
    pub id: String,
    /// When it goes on.
    pub next: Instant,
    user: &'static str,
    /// Answered by support.
    active: bool,
    typing: bool,
    /// Messages said, of those that will be said.
    said: usize,
    to_say: usize,
}

impl Chat {
    /// A user begins to wait.
    pub(super) async fn begin(client: &Client, tenant: &Tenant) -> Result<Self, Failure> {
        let user = pick(&tenant.users[1..]).0;
        let create = "select tidings_app.create_chat_session($1, $2, $3, null) ->> 'id'";
        let row = client.query_one(create, &[&tenant.id, &user, &pick(&SUBJECTS)]).await?;
        let (said, to_say) = (0, 2 * random_range(2..=LINES.len()));
        Ok(Self { id: row.get(0), next: after(TYPE_MS), user, active: false, typing: false, said, to_say })
    }

    /// Takes it further; true when it has ended.
    pub(super) async fn advance(&mut self, client: &Client, tenant: &Tenant) -> Result<bool, Failure> {
        // Support comes when the question stands there.
        if self.said > 0 && !self.active {
            self.active = true;
            self.next = after(THINK_MS);
            // Somebody who plays with the demo may have done it already: then that chat is over for us.
            return Ok(!command(client, tenant, &self.id, "assign").await?);
        }
        if self.said == self.to_say {
            command(client, tenant, &self.id, "end").await?;
            return Ok(true);
        }
        if !self.typing && random_bool(0.8) {
            self.typing = true;
            self.next = after(TYPE_MS);
            self.tell_typing(client, tenant).await?;
            return Ok(false);
        }
        self.typing = false;
        self.say(client, tenant).await?;
        self.next = after(if self.active { THINK_MS } else { WAIT_MS });
        Ok(false)
    }

    /// Who says the next line, and as what.
    fn speaker(&self, tenant: &Tenant) -> (&'static str, &'static str) {
        if self.said.is_multiple_of(2) { (self.user, "user") } else { (tenant.users[0].0, "assistant") }
    }

    async fn tell_typing(&self, client: &Client, tenant: &Tenant) -> Result<(), Failure> {
        let (sub, role) = self.speaker(tenant);
        let data = json!({"session_id": self.id, "sub": sub, "role": role}).to_string();
        let tell = "select tidings._emit_live($1, 'chat.typing', $2::text::jsonb, $3, $4)";
        client.execute(tell, &[&tenant.id, &data, &self.id, &self.user]).await?;
        Ok(())
    }

    /// The next message.
    async fn say(&mut self, client: &Client, tenant: &Tenant) -> Result<(), Failure> {
        // The last two lines are a goodbye, however short the chat.
        let turn = self.said / 2;
        let turn = if turn + 1 == self.to_say / 2 { LINES.len() - 1 } else { turn };
        let (sub, role) = self.speaker(tenant);
        let admin = role == "assistant";
        let content = if admin { LINES[turn].1 } else { LINES[turn].0 };
        let create = "select tidings_app.create_chat_message($1, $2, $3, $4, null, $5, $6, null)";
        let said = client.execute(create, &[&tenant.id, &sub, &admin, &self.id, &role, &content]).await;
        match said {
            // Ended by somebody else: nothing more will be said, and the next step finds out.
            Err(error) if is_refusal(&error) => self.said = self.to_say,
            said => {
                said?;
                self.said += 1;
            }
        }
        Ok(())
    }
}

/// What support does with a chat; false where somebody else was first.
pub(super) async fn command(client: &Client, tenant: &Tenant, id: &str, command: &str) -> Result<bool, Failure> {
    let act = "select tidings_app.move_chat_session($1, $2, $3, $4, null)";
    match client.execute(act, &[&tenant.id, &tenant.users[0].0, &id, &command]).await {
        Err(error) if is_refusal(&error) => Ok(false),
        done => Ok(done.map(|_| true)?),
    }
}

fn after((from_ms, to_ms): (u64, u64)) -> Instant {
    Instant::now() + Duration::from_millis(random_range(from_ms..to_ms))
}
