//! Events as e-mail: a letter to each person whom the application names, unless they opted out.
//!
//! Place: beside the road, a consumer with deliveries. One delivery per event is noted; its first attempt asks
//! `tidings_app.recipients` and puts one per person in its place, so that what that function does wrong is tried again and
//! ends as a dead letter, and holds up no other event. Addresses are kept nowhere: each attempt asks for its own recipient
//! once more, and sends nothing to whoever has opted out meanwhile (`who_opts_out_before_the_letter_is_sent_gets_none`).
//!
//! At least once: where an answer of the SMTP server is lost, the letter is sent again, with the same Message-ID.

pub mod letter;

use lettre::message::Mailbox;
use lettre::transport::smtp::{Error, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde::Deserialize;
use serde_json::Value;

use crate::auth::unsubscribe;
use crate::config::Config;
use crate::delivery::{Attempt, Delivery, Outcome};
use crate::reload::Held;
use crate::replay::{Log, LogError};
use letter::{Letters, Recipient};

/// Its name in the database and in metrics.
pub const CONSUMER: &str = "email";
/// Answers that speak of our credentials and not of this letter: somebody mends the settings, and then it can be sent.
const NOT_SIGNED_IN: [u16; 4] = [530, 534, 535, 538];

/// Why no letter can be sent. The settings were checked when they were read.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The URL of the server.
    #[error("email.smtp cannot be used")]
    Server(#[source] Error),
    /// The sender.
    #[error("email.from is no mailbox")]
    From(#[source] lettre::address::AddressError),
    /// A template.
    #[error("email.{0} is no usable template: {1}")]
    Template(&'static str, String),
}

/// Sends letters.
pub struct Email {
    log: Log,
    letters: Letters,
    from: Mailbox,
    public_url: String,
    in_force: Held,
    server: AsyncSmtpTransport<Tokio1Executor>,
}

/// A person as `tidings_app.recipients` names them.
#[derive(Deserialize)]
struct Person {
    sub: String,
    name: Option<String>,
    email: Option<String>,
}

impl Email {
    /// From the settings; nothing is connected yet.
    ///
    /// # Errors
    /// See [`EmailError`].
    pub fn new(config: &Config, log: Log, in_force: Held) -> Result<Self, EmailError> {
        let email = &config.email;
        let connections = u32::try_from(config.delivery.in_flight).unwrap_or(u32::MAX);
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(email.smtp.expose())
            .map_err(EmailError::Server)?
            .timeout(Some(email.timeout))
            .pool_config(PoolConfig::new().max_size(connections))
            .build();
        Ok(Self {
            log,
            letters: Letters::new(email).map_err(|(key, why)| EmailError::Template(key, why))?,
            from: email.from.parse().map_err(EmailError::From)?,
            public_url: email.public_url.trim_end_matches('/').to_owned(),
            in_force,
            server,
        })
    }

    /// One delivery for each recipient in the place of this one.
    async fn split(&self, delivery: &Delivery) -> Result<Outcome, LogError> {
        let audience = serde_json::from_str::<Value>(&delivery.body)
            .ok()
            .and_then(|event| event.get("audience")?.as_str().map(str::to_owned));
        let Some(people) = self.recipients(delivery, audience.as_deref()).await? else {
            return Ok(Outcome::retry("tidings_app.recipients did not return what docs/application.md asks for"));
        };
        let subs: Vec<String> = people.into_iter().map(|person| person.sub).collect();
        let client = self.log.pool().get().await?;
        let statement = client.prepare_cached("select tidings._split($1, $2, $3)").await?;
        client.execute(&statement, &[&delivery.id, &delivery.attempt, &subs]).await?;
        Ok(Outcome::Split)
    }

    async fn send(&self, delivery: &Delivery) -> Result<Outcome, LogError> {
        let Some(people) = self.recipients(delivery, Some(&delivery.part)).await? else {
            return Ok(Outcome::retry("tidings_app.recipients did not return what docs/application.md asks for"));
        };
        let Some(person) = people.into_iter().find(|person| person.sub == delivery.part) else {
            // Opted out, or gone.
            return Ok(Outcome::Done);
        };
        let Some(address) = person.email.filter(|address| !address.is_empty()) else {
            return Ok(Outcome::Done);
        };
        let secret = self.in_force.load().keys.secret.clone().unwrap_or_default();
        let token = unsubscribe::sign(&secret, &delivery.tenant, &person.sub);
        let recipient = Recipient {
            sub: person.sub,
            name: person.name.unwrap_or_default(),
            email: address,
            unsubscribe_url: format!("{}/v1/unsubscribe/{token}", self.public_url),
        };
        match self.letters.letter(delivery, &self.from, &recipient) {
            Ok(letter) => Ok(self.server.send(letter).await.map_or_else(|error| judge(&error), |_| Outcome::Done)),
            Err(why) => Ok(Outcome::give_up(why)),
        }
    }

    /// Who is to be told; none: the answer makes no sense.
    async fn recipients(&self, delivery: &Delivery, audience: Option<&str>) -> Result<Option<Vec<Person>>, LogError> {
        let client = self.log.pool().get().await?;
        let sql = "select tidings_app.recipients($1, $2, $3)::text from set_config('tidings.tenant', $1::text, true)";
        let row = client
            .query_one(&client.prepare_cached(sql).await?, &[&delivery.tenant, &delivery.kind, &audience])
            .await?;
        let json: Option<String> = row.get(0);
        Ok(json.map_or_else(|| Some(Vec::new()), |json| serde_json::from_str(&json).ok()))
    }
}

impl Attempt for Email {
    async fn attempt(&self, delivery: &Delivery) -> Outcome {
        let outcome = if delivery.part.is_empty() { self.split(delivery).await } else { self.send(delivery).await };
        // The message may hold a row's values; its code does not.
        outcome.unwrap_or_else(|error| match error {
            LogError::Query(error) if error.code().is_some() => {
                let code = error.code().map_or("", tokio_postgres::error::SqlState::code);
                Outcome::retry(format!("the database refused to say who the recipients are ({code}); see its log"))
            }
            _ => Outcome::retry("the database could not be reached"),
        })
    }
}

/// Waits until the application can say who the recipients are.
pub async fn application(log: &Log, pause: std::time::Duration) {
    let mut said = false;
    loop {
        match known(log).await {
            Ok(true) => return,
            Ok(false) if !said => {
                said = true;
                tracing::warn!(
                    "e-mail waits: this database has no function tidings_app.recipients(text, text, text); \
                     see `tidings migrate --app` and docs/application.md"
                );
            }
            Ok(false) | Err(_) => {}
        }
        tokio::time::sleep(pause).await;
    }
}

async fn known(log: &Log) -> Result<bool, LogError> {
    let client = log.pool().get().await?;
    let sql = "select to_regprocedure('tidings_app.recipients(text, text, text)') is not null";
    Ok(client.query_one(sql, &[]).await?.get(0))
}

/// What the server's answer means. Its text is not kept: it often repeats the address.
fn judge(error: &Error) -> Outcome {
    match error.status().map(u16::from) {
        Some(code) if NOT_SIGNED_IN.contains(&code) => {
            tracing::error!(code, "the SMTP server refuses the credentials in email.smtp");
            Outcome::retry(format!("the SMTP server refuses the credentials ({code})"))
        }
        Some(code) if error.is_permanent() => Outcome::give_up(format!("the SMTP server answered {code}")),
        Some(code) => Outcome::retry(format!("the SMTP server answered {code}")),
        None if error.is_timeout() => Outcome::retry("the SMTP server did not answer in time"),
        None if error.is_tls() => Outcome::retry("no TLS with the SMTP server"),
        None => Outcome::retry("no connection to the SMTP server, or it broke"),
    }
}
