//! A chat: someone waits, support answers, they talk, it ends.

use rand::random_range;
use tokio_postgres::Client;

use super::pick;
use crate::cli::Failure;
use crate::cli::demo::seed::Tenant;

const SUBJECTS: [&str; 5] =
    ["Upload does not finish", "Invoice address", "How do I share a document?", "Cannot sign in", "Export as CSV"];
/// What the user says and what support answers, in turns.
const LINES: [(&str, &str); 6] = [
    ("Hello, is somebody there?", "Yes, hello! What can I do for you?"),
    ("It has been at 55 % for a while.", "Let me have a look at the log."),
    ("It worked yesterday.", "We changed something this morning. One moment, please."),
    ("Should I upload it again?", "Please do, I am watching from here."),
    ("That looks better.", "Good, it has just been processed."),
    ("Thank you!", "You are welcome. Have a good day."),
];

/// A chat that has not ended.
pub(super) struct Chat {
    pub id: String,
    user: &'static str,
    /// Answered by support.
    active: bool,
    /// Messages said, of those that will be said.
    said: usize,
    to_say: usize,
}

impl Chat {
    /// A user begins to wait.
    pub(super) async fn begin(client: &Client, tenant: &Tenant) -> Result<Self, Failure> {
        let user = pick(&tenant.users[1..]).0;
        let insert = "insert into public.chat_sessions (tenant_id, user_id, subject) values ($1, $2, $3) returning id";
        let row = client.query_one(insert, &[&tenant.id, &user, &pick(&SUBJECTS)]).await?;
        Ok(Self { id: row.get(0), user, active: false, said: 0, to_say: 2 * random_range(2..=LINES.len()) })
    }

    /// Takes it further; true when it has ended.
    pub(super) async fn advance(&mut self, client: &Client, tenant: &Tenant) -> Result<bool, Failure> {
        if !self.active {
            let answer =
                "update public.chat_sessions set status = 'active', assigned_to = $2, started_at = now() where id = $1";
            client.execute(answer, &[&self.id, &tenant.users[0].0]).await?;
            self.active = true;
        } else if self.said < self.to_say {
            self.say(client, tenant).await?;
        } else {
            let end = "update public.chat_sessions set status = 'ended', ended_at = now() where id = $1";
            client.execute(end, &[&self.id]).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The next message, and the mark that it leaves on the session, in one statement.
    async fn say(&mut self, client: &Client, tenant: &Tenant) -> Result<(), Failure> {
        // The last two lines are a goodbye, however short the chat.
        let turn = self.said / 2;
        let turn = if turn + 1 == self.to_say / 2 { LINES.len() - 1 } else { turn };
        let (role, author, content) = match (self.said % 2, LINES[turn]) {
            (0, (question, _)) => ("user", self.user, question),
            (_, (_, answer)) => ("assistant", tenant.users[0].0, answer),
        };
        let insert = "with said as (
                insert into public.chat_messages (tenant_id, session_id, role, content, metadata)
                values ($1, $2, $3, $4, jsonb_build_object('author', $5::text)) returning created_at)
            update public.chat_sessions set last_message_at = (select created_at from said) where id = $2";
        client.execute(insert, &[&tenant.id, &self.id, &role, &content, &author]).await?;
        self.said += 1;
        Ok(())
    }
}
