//! A letter from an event: the templates of `[email]`, and the headers that mail clients and servers look for.
//!
//! Invariants: what stands in an event cannot become markup or a header (`what_an_event_says_is_text_in_every_part`); every
//! letter can be unsubscribed from with one click, RFC 8058 (`every_letter_can_be_unsubscribed_from`).

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use minijinja::{Environment, UndefinedBehavior, escape_formatter};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config;
use crate::delivery::Delivery;

/// Name of each key's template; the ending decides what is escaped.
const TEMPLATES: [(&str, &str); 3] = [("subject", "subject.txt"), ("text", "letter.txt"), ("html", "letter.html")];
/// Longer subjects are cut: no mail client shows more.
const SUBJECT_CHARS_MAX: usize = 200;

/// Whom a letter is for, as templates see them.
#[derive(Serialize)]
pub struct Recipient {
    /// The user.
    pub sub: String,
    /// Empty where it is not known.
    pub name: String,
    /// The address.
    pub email: String,
    /// Where they can say that they want no more.
    #[serde(skip)]
    pub unsubscribe_url: String,
}

/// The templates, which were tried once.
pub struct Letters {
    environment: Environment<'static>,
    html: bool,
}

impl Letters {
    /// Compiles the templates and tries each with an event that is like those of the reference tables.
    ///
    /// # Errors
    /// Which key of `[email]` holds no template, and why.
    pub fn new(email: &config::Email) -> Result<Self, (&'static str, String)> {
        let mut environment = Environment::new();
        // What an event does not have is nothing, however deep it is asked for.
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_formatter(|out, state, value| {
            let nothing = minijinja::Value::UNDEFINED;
            escape_formatter(out, state, if value.is_none() { &nothing } else { value })
        });
        let letters = [&email.subject, &email.text, &email.html];
        for ((key, name), source) in TEMPLATES.into_iter().zip(letters) {
            environment.add_template_owned(name, source.clone()).map_err(|error| (key, error.to_string()))?;
        }
        let letters = Self { environment, html: !email.html.is_empty() };
        for (key, name) in TEMPLATES {
            letters.render(name, &example()).map_err(|error| (key, error.to_string()))?;
        }
        Ok(letters)
    }

    /// The letter about an event. A failure is said without anything of the event.
    ///
    /// # Errors
    /// Why this event can make none for this recipient.
    pub fn letter(&self, delivery: &Delivery, from: &Mailbox, to: &Recipient) -> Result<Message, String> {
        let mut about: Value = serde_json::from_str(&delivery.body).map_err(|_| "the event is no JSON".to_owned())?;
        about["recipient"] = json!(to);
        about["unsubscribe_url"] = json!(to.unsubscribe_url);
        let render =
            |name| self.render(name, &about).map_err(|error| format!("the template {name} failed: {:?}", error.kind()));
        let subject = one_line(&render("subject.txt")?);
        let address = to.email.parse().map_err(|_| "the recipient's address is none".to_owned())?;
        let name = Some(one_line(&to.name)).filter(|name| !name.is_empty());
        let message = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(name, address))
            .subject(if subject.is_empty() { delivery.kind.clone() } else { subject })
            .date_now()
            .message_id(Some(message_id(delivery, from)))
            .raw_header(header("List-Unsubscribe", format!("<{}>", to.unsubscribe_url)))
            .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()))
            // Out-of-office replies to a notification help nobody.
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()));
        let text = render("letter.txt")?;
        let made = if self.html {
            message.multipart(MultiPart::alternative_plain_html(text, render("letter.html")?))
        } else {
            message.singlepart(SinglePart::plain(text))
        };
        made.map_err(|error| format!("no letter can be made: {error}"))
    }

    fn render(&self, name: &str, about: &Value) -> Result<String, minijinja::Error> {
        self.environment.get_template(name)?.render(minijinja::value::Serde(about))
    }
}

/// The same for the same event and recipient, so that a letter that comes twice is recognised.
fn message_id(delivery: &Delivery, from: &Mailbox) -> String {
    let mut hash = Sha256::new();
    for part in [&delivery.event, &delivery.tenant, &delivery.part] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("<{hash}@{}>", from.email.domain())
}

/// Written as it is: ours are ASCII, and an encoded URL were none.
fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
}

fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT_CHARS_MAX).collect();
    plain.trim().to_owned()
}

fn example() -> Value {
    json!({
        "specversion": "1.0", "id": "1-1061517-8c7981d4", "source": "/public/notifications", "type": "notifications.inserted",
        "subject": "ntf_1", "time": "2026-11-20T19:25:07.119407Z", "tenant": "acme", "audience": "ann",
        "data": {"id": "ntf_1", "type": "document_processed", "title": "Ready", "message": "Your document is ready.", "metadata": {}},
        "recipient": {"sub": "ann", "name": "Ann", "email": "ann@acme.example"},
        "unsubscribe_url": "https://app.example.com/v1/unsubscribe/x",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn letter(data: Value) -> String {
        let mut event = example();
        event["data"] = data;
        let delivery = Delivery {
            event: "1-2-3".into(),
            part: "ann".into(),
            tenant: "acme".into(),
            kind: "notifications.inserted".into(),
            body: event.to_string(),
            ..Delivery::default()
        };
        let to = Recipient {
            sub: "ann".into(),
            name: "Ann\r\nBcc: eve@evil.example".into(),
            email: "ann@acme.example".into(),
            unsubscribe_url: "https://app.example.com/v1/unsubscribe/abc".into(),
        };
        let from = "Acme <no-reply@acme.example>".parse().unwrap();
        let made = Letters::new(&Config::default().email).unwrap().letter(&delivery, &from, &to).unwrap();
        String::from_utf8(made.formatted()).unwrap()
    }

    #[test]
    fn what_an_event_says_is_text_in_every_part() {
        let text = letter(json!({"title": "A\r\nBcc: eve@evil.example", "message": "<script>alert(1)</script>"}));
        let head = text.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc:")), "{head}");
        let html = text.split("text/html").nth(1).unwrap();
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"), "{html}");
    }

    #[test]
    fn every_letter_can_be_unsubscribed_from() {
        let text = letter(json!({"title": "A", "message": null}));
        assert!(text.contains("\r\nList-Unsubscribe: <https://app.example.com/v1/unsubscribe/abc>\r\n"), "{text}");
        assert!(text.contains("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"));
        assert!(!text.contains("none"), "null is nothing: {text}");
        assert_eq!(text.matches("@acme.example>\r\n").count(), 3, "from, to and Message-ID: {text}");
    }

    #[test]
    fn a_template_that_cannot_be_rendered_is_found_before_it_is_needed() {
        let refused = |text: &str| {
            let email = config::Email { text: text.to_owned(), ..Config::default().email };
            Letters::new(&email).err().map(|(key, _)| key)
        };
        for text in ["{{ data.title", "{{ data.title | shout }}", "{% if %}", "{{ nothing() }}"] {
            assert_eq!(refused(text), Some("text"), "{text}");
        }
        assert_eq!(refused("{{ data.nothing.at.all }} {{ data.title | upper }}"), None);
    }
}
