//! What a model is told: the system prompt, what was said, and what is asked for where nobody said it.

use serde::Serialize;

use super::About;
use super::voice::Question;

/// Asked for where a session begins.
const OPEN: &str =
    "(The conversation begins here. Greet the user in one or two sentences, and ask what they would like to do.)";

/// One message as models take it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub role: &'static str,
    pub content: String,
}

/// All that is told, in order.
pub(super) fn lines(question: &Question) -> Vec<Line> {
    let system = question.system.iter().map(|content| Line { role: "system", content: content.clone() });
    let said = question.conversation.messages.iter().filter_map(|message| {
        let role = match message.role.as_str() {
            "user" => "user",
            "assistant" => "assistant",
            // Our own excuses would teach the model to excuse itself.
            "system" if message.metadata.get("error").is_none() => "system",
            _ => return None,
        };
        Some(Line { role, content: message.content.clone() })
    });
    let asked = match &question.about {
        About::Message(_) => None,
        About::Opening => Some(OPEN.to_owned()),
        About::Edit(text) => Some(format!(
            "(I have edited the text that this conversation is about. Say in a few sentences what you think of it now, \
             and what could be better. The text:)\n\n{text}"
        )),
    };
    system.chain(said).chain(asked.map(|content| Line { role: "user", content })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_model_is_told_what_was_said_and_not_what_went_wrong() {
        let conversation = serde_json::from_value(json!({"session": {}, "messages": [
            {"id": "1", "role": "user", "content": "Hi"},
            {"id": "2", "role": "system", "content": "Sorry", "metadata": {"error": "http_500"}},
            {"id": "3", "role": "system", "content": "Ann has paid.", "metadata": {}},
            {"id": "4", "role": "assistant", "content": "Hello"},
        ]}))
        .unwrap();
        let question = Question {
            tenant: "acme".into(),
            answer: "a".into(),
            about: About::Edit("Now longer".into()),
            system: Some("Be kind.".into()),
            conversation,
        };
        let told: Vec<_> = lines(&question).into_iter().map(|line| (line.role, line.content)).collect();
        let expected = [("system", "Be kind."), ("user", "Hi"), ("system", "Ann has paid."), ("assistant", "Hello")];
        assert_eq!(told[..4], expected.map(|(role, content)| (role, content.to_owned())));
        assert!(told[4].0 == "user" && told[4].1.ends_with("\n\nNow longer"));
    }
}
