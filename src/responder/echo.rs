//! Says back what was said, word by word, for demonstrations and tests: the whole road but the model.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::About;
use super::voice::{Piece, Pieces, Question};
use super::wording::first_name;

/// Between words: as fast as one reads.
const WORD: Duration = Duration::from_millis(40);
/// However long the text is.
const WHOLE: Duration = Duration::from_secs(3);

pub(super) fn speak(question: &Question) -> Pieces {
    let text = match &question.about {
        About::Message(_) => {
            format!("You said: {}", question.conversation.messages.last().map_or("", |said| &said.content))
        }
        About::Opening => {
            format!("Hello {}! I am an echo: I say back what you say.", first_name(&question.conversation))
        }
        About::Edit(text) => format!("You changed it to: {text}"),
    };
    let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
    let pause = WORD.min(WHOLE / u32::try_from(words.len()).unwrap_or(u32::MAX).max(1));
    let paced = move |word| async move {
        sleep(pause).await;
        Ok(Piece::Text(word))
    };
    stream::iter(words).then(paced).boxed()
}
