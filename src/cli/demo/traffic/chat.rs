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
        let create = "select tidings_app.create_chat_session($1, $2, $3, null) ->> 'id'";
        let row = client.query_one(create, &[&tenant.id, &user, &pick(&SUBJECTS)]).await?;
        Ok(Self { id: row.get(0), user, active: false, said: 0, to_say: 2 * random_range(2..=LINES.len()) })
    }

    /// Takes it further; true when it has ended.
    pub(super) async fn advance(&mut self, client: &Client, tenant: &Tenant) -> Result<bool, Failure> {
        let command = match self.active {
            false => "assign",
            true if self.said < self.to_say => {
                self.say(client, tenant).await?;
                return Ok(false);
            }
            true => "end",
        };
        // Somebody who plays with the demo may have done it already: then that chat is over for us.
        let act = "select tidings_app.move_chat_session($1, $2, $3, $4, null)";
        let moved = client.execute(act, &[&tenant.id, &tenant.users[0].0, &self.id, &command]).await;
        if let Some(true) = moved.as_ref().err().map(is_refusal) {
            return Ok(true);
        }
        moved?;
        self.active = true;
        Ok(command == "end")
    }

    /// The next message.
    async fn say(&mut self, client: &Client, tenant: &Tenant) -> Result<(), Failure> {
        // The last two lines are a goodbye, however short the chat.
        let turn = self.said / 2;
        let turn = if turn + 1 == self.to_say / 2 { LINES.len() - 1 } else { turn };
        let (admin, role, author, content) = match (self.said % 2, LINES[turn]) {
            (0, (question, _)) => (false, "user", self.user, question),
            (_, (_, answer)) => (true, "assistant", tenant.users[0].0, answer),
        };
        let create = "select tidings_app.create_chat_message($1, $2, $3, $4, null, $5, $6, null)";
        let said = client.execute(create, &[&tenant.id, &author, &admin, &self.id, &role, &content]).await;
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

/// Whether the application refused, because somebody else was first.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|state| state.code().starts_with("TD"))
}
