//! The operator's own words: system prompt and opening, as templates over the tenant, the session and its user.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, escape_formatter};
use serde_json::json;

use super::application::Conversation;
use crate::config::Responder;

/// The opening that is made like an answer.
const GENERATE: &str = "generate";
/// Stands in for a name that nobody knows.
const NO_NAME: &str = "there";

/// The templates, compiled.
pub(crate) struct Wording {
    templates: Environment<'static>,
}

impl Wording {
    /// Of the configuration.
    ///
    /// # Errors
    /// Names the template, by its setting's key, that is none.
    pub(crate) fn new(settings: &Responder) -> Result<Self, minijinja::Error> {
        let mut templates = Environment::new();
        // What the application does not know is nothing, and not the word for it.
        templates.set_formatter(
            |out, state, value| if value.is_none() { Ok(()) } else { escape_formatter(out, state, value) },
        );
        // A session without metadata is not worth an error in front of a user.
        templates.set_undefined_behavior(UndefinedBehavior::Chainable);
        templates.add_template_owned("system", settings.system.clone())?;
        if settings.opening != GENERATE {
            templates.add_template_owned("opening", settings.opening.clone())?;
        }
        Ok(Self { templates })
    }

    /// The system prompt; none where it is empty.
    pub(super) fn system(&self, tenant: &str, of: &Conversation) -> Result<Option<String>, minijinja::Error> {
        let text = self.templates.get_template("system")?.render(context(tenant, of))?;
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    /// The opening; none where it is made like an answer.
    pub(super) fn opening(&self, tenant: &str, of: &Conversation) -> Result<Option<String>, minijinja::Error> {
        match self.templates.get_template("opening") {
            Ok(template) => template.render(context(tenant, of)).map(Some),
            Err(_) => Ok(None),
        }
    }
}

/// The first word of a user's name.
pub(super) fn first_name(of: &Conversation) -> &str {
    of.user.name.as_deref().and_then(|name| name.split_whitespace().next()).unwrap_or(NO_NAME)
}

fn context(tenant: &str, of: &Conversation) -> minijinja::Value {
    let name = of.user.name.as_deref().filter(|name| !name.trim().is_empty()).unwrap_or(NO_NAME);
    minijinja::Value::from(Serde(json!({
        "tenant": tenant,
        "session": of.session,
        "user": {"id": of.user.id, "name": name, "first_name": first_name(of)},
    })))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::Config;

    fn opening(template: &str, conversation: Value) -> String {
        let settings = Responder { opening: template.into(), ..Config::default().responder };
        let conversation = serde_json::from_value(conversation).unwrap();
        Wording::new(&settings).unwrap().opening("acme", &conversation).unwrap().unwrap()
    }

    #[test]
    fn a_greeting_uses_the_first_name_or_says_there() {
        let with = |name: Value| json!({"session": {"id": "s", "subject": null}, "user": {"id": "ann", "name": name}, "messages": []});
        assert_eq!(opening("Hi {{user.first_name}}!", with(json!("Ann Lee"))), "Hi Ann!");
        assert_eq!(opening("Hi {{ user.name }}!", with(json!("Ann Lee"))), "Hi Ann Lee!");
        assert_eq!(opening("Hi {{user.first_name}}!", with(json!(null))), "Hi there!");
        assert_eq!(opening("Hi {{user.name}}!", with(json!(" "))), "Hi there!");
        assert_eq!(opening("{{session.subject}}{{session.nothing.at_all}}.", with(json!(null))), ".");
    }

    #[test]
    fn a_greeting_may_depend_on_the_session() {
        let template = "{% if session.metadata.posts.published %}Again, {{tenant}}?{% else %}{{session.subject}}: your first{% endif %}";
        let with =
            |metadata: Value| json!({"session": {"subject": "Post", "metadata": metadata}, "user": {}, "messages": []});
        assert_eq!(opening(template, with(json!({"posts": {"published": 3}}))), "Again, acme?");
        assert_eq!(opening(template, with(json!({}))), "Post: your first");
        assert_eq!(opening(template, json!({"session": {"subject": "Post"}, "messages": []})), "Post: your first");
    }
}
