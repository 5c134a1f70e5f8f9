//! The body of a request, field by field: what is wrong with one is told by its name, and no value is ever quoted.
//!
//! Why not a struct with `Deserialize`: serde tells which line is wrong, not which field, and stops people from reading
//! "of the wrong type (line 1, column 47)" only by luck.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::application::Object;
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::route::Request;

/// Names that somebody made up are told back to this length.
const NAME_BYTES_MAX: usize = 64;

/// The members of a JSON object, to be taken out one by one.
pub struct Fields(Object);

impl Fields {
    /// Reads the body of a request.
    pub async fn of(request: &mut Request, state: &State) -> Result<Self, Problem> {
        request.json(state).await.map(Self)
    }

    /// A member; none where it is absent or null. `what` says what it must be.
    pub fn take<T: DeserializeOwned>(&mut self, name: &'static str, what: &str) -> Result<Option<T>, Problem> {
        let Some(raw) = self.0.remove(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_| Problem::field(name, format!("{name} must be {what}")))
    }

    /// A text of at most so many bytes, and not blank.
    pub fn text(&mut self, name: &'static str, bytes_max: usize) -> Result<Option<String>, Problem> {
        let what = format!("a text of 1 to {bytes_max} bytes without NUL");
        match self.take::<String>(name, &what)? {
            Some(text) if text.trim().is_empty() || text.len() > bytes_max || text.contains('\0') => {
                Err(Problem::field(name, format!("{name} must be {what}")))
            }
            text => Ok(text),
        }
    }

    /// The same where it must be there.
    pub fn required(&mut self, name: &'static str, bytes_max: usize) -> Result<String, Problem> {
        self.text(name, bytes_max)?.ok_or_else(|| missing(name))
    }

    /// A JSON object, as it was written: no number loses a digit.
    pub fn object(&mut self, name: &'static str) -> Result<Option<Box<RawValue>>, Problem> {
        match self.take::<Box<RawValue>>(name, "a JSON object")? {
            Some(json) if json.get() == "null" => Ok(None),
            Some(json) if !json.get().starts_with('{') => {
                Err(Problem::field(name, format!("{name} must be a JSON object")))
            }
            json => Ok(json),
        }
    }

    /// True or false.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        self.take(name, "true or false")
    }

    /// Refuses what was not taken: a misspelt name would otherwise be lost without a word.
    pub fn end(self) -> Result<(), Problem> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) if name.len() > NAME_BYTES_MAX => {
                Err(Problem::field("body", "a field of the body is not known"))
            }
            Some(name) => {
                let detail = format!("there is no field {name}; see the documentation of this address");
                Err(Problem::field(name, detail))
            }
        }
    }
}

/// A field that must be there is not.
pub fn missing(name: &'static str) -> Problem {
    Problem::field(name, format!("{name} is missing"))
}
