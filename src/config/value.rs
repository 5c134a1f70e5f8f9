//! From a TOML value to the type of a field: durations and sizes with units, counts, addresses, lists.
//!
//! Strict on purpose: a number without a unit has been taken for seconds by one reader and for milliseconds by the
//! next, so it is refused.

use std::{net::SocketAddr, time::Duration};

use toml::Value;

use super::{error::Refusal, secret::Secret};

/// Longer than anything here can mean, and short enough to be added to any clock without overflow.
const DURATION_MAX: Duration = Duration::from_secs(3650 * DAY_S);
const DAY_S: u64 = 24 * 60 * 60;

const DURATION_HINT: &str = "write a whole number and one of ms, s, m, h, d, such as \"15s\"";
const SIZE_HINT: &str = "write a whole number and one of B, KiB, MiB, GiB, KB, MB, GB, such as \"64KiB\"";

/// What a field of [`Config`](super::Config) can be. The value already has the TOML type of its default.
pub(super) trait FromValue: Sized {
    fn from_value(value: &Value) -> Result<Self, Refusal>;
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        value.as_bool().ok_or_else(|| mistyped(value, "true or false"))
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        text(value).map(str::to_owned)
    }
}

impl FromValue for Secret {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        text(value).map(Secret::new)
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        let refused = || Refusal::new("must be a list of strings", "write it as [\"one\", \"two\"]");
        let items = value.as_array().ok_or_else(refused)?;
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(refused)).collect()
    }
}

impl FromValue for SocketAddr {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        let text = text(value)?;
        text.parse().map_err(|_| {
            Refusal::new(
                format!("is not an address with a port: {text:?}"),
                "write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
            )
        })
    }
}

/// An address, or nothing where the text is empty.
impl FromValue for Option<SocketAddr> {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        if text(value)?.is_empty() { Ok(None) } else { SocketAddr::from_value(value).map(Some) }
    }
}

impl FromValue for Duration {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        duration(text(value)?)
    }
}

/// A count, where the default is an integer, or a size in bytes, where it is a string.
impl FromValue for usize {
    fn from_value(value: &Value) -> Result<Self, Refusal> {
        let number = match value {
            Value::Integer(count) => usize::try_from(*count)
                .map_err(|_| Refusal::new(format!("is out of range: {count}"), "write a whole number above zero"))?,
            other => size(text(other)?)?,
        };
        if number == 0 {
            return Err(Refusal::new("is zero", "write a number above zero; nothing here means \"unlimited\""));
        }
        Ok(number)
    }
}

fn text(value: &Value) -> Result<&str, Refusal> {
    value.as_str().ok_or_else(|| mistyped(value, "a string"))
}

fn mistyped(value: &Value, wanted: &str) -> Refusal {
    Refusal::new(format!("must be {wanted}, not {}", kind(value)), "see config.toml, the manual")
}

/// The kind of a value as it reads in a sentence.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// Parses "250ms", "15s", "5m", "72h" or "3d".
pub(super) fn duration(text: &str) -> Result<Duration, Refusal> {
    let (number, unit) = number_and_unit(text, DURATION_HINT)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_S * 1_000,
        _ => return Err(unknown_unit(text, unit, DURATION_HINT)),
    };
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| Refusal::new(format!("is too long: {text:?}"), "write at most \"3650d\""))
}

/// Parses "512B", "64KiB" or "8MB" into bytes.
pub(super) fn size(text: &str) -> Result<usize, Refusal> {
    let (number, unit) = number_and_unit(text, SIZE_HINT)?;
    let unit_bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(unknown_unit(text, unit, SIZE_HINT)),
    };
    number
        .checked_mul(unit_bytes)
        // isize::MAX is as much as any allocation can be.
        .and_then(|bytes| usize::try_from(bytes).ok().filter(|bytes| isize::try_from(*bytes).is_ok()))
        .ok_or_else(|| Refusal::new(format!("is too large: {text:?}"), "write a size that fits into memory"))
}

fn number_and_unit<'a>(text: &'a str, hint: &str) -> Result<(u64, &'a str), Refusal> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Refusal::new(format!("does not begin with a number: {text:?}"), hint));
    }
    if unit.is_empty() {
        return Err(Refusal::new(format!("has no unit: {text:?}"), hint));
    }
    let number = number.parse().map_err(|_| Refusal::new(format!("is out of range: {text:?}"), hint))?;
    Ok((number, unit))
}

fn unknown_unit(text: &str, unit: &str, hint: &str) -> Refusal {
    Refusal::new(format!("has an unknown unit {unit:?}: {text:?}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        for (text, ms) in [("250ms", 250), ("15s", 15_000), ("5m", 300_000), ("72h", 259_200_000), ("3d", 259_200_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "s", "15", "15 s", "-1s", "1.5s", "1h30m", "15S", "15sec", "3651d", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn sizes_are_binary_or_decimal() {
        for (text, bytes) in
            [("512B", 512), ("64KiB", 65_536), ("8MiB", 8 << 20), ("64KB", 64_000), ("1GB", 1_000_000_000)]
        {
            assert_eq!(size(text), Ok(bytes));
        }
        for text in ["", "64", "64K", "64kib", "64 KiB", "1.5MiB", "-1B", "17179869184GiB", "9000000000GiB"] {
            assert!(size(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_count_of_zero_is_refused() {
        assert!(usize::from_value(&Value::Integer(0)).is_err());
        assert!(usize::from_value(&Value::Integer(-1)).is_err());
        assert_eq!(usize::from_value(&Value::Integer(7)), Ok(7));
    }
}
